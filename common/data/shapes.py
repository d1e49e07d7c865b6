"""The shape of one network input, which follows from the study alone: a hub needs no site to tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.errors import ConfigError

if TYPE_CHECKING:
    from common.config.study import DataConfig

TABLE_COLUMNS = {"wdbc": 30, "wbc": 9}
"""Features a row of the data sets that are tables; all others hold images."""


def input_shape(data: DataConfig) -> tuple[int, ...]:
    """Returns (C, H, W) of an image or (F,) of a table row, as every site of the study must have it.

    Raises:
        ConfigError: ``data.image_size`` is 0 although these are images.
    """
    if data.name in TABLE_COLUMNS:
        return (TABLE_COLUMNS[data.name],)
    if data.image_size < 1:
        raise ConfigError(f"data.image_size=0 is for tables; data={data.name} holds images: set data.image_size=64")
    return (data.channels, data.image_size, data.image_size)
