"""What the hub does with one site's update, over adding up float32: checks, norm, fixed point, sum."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from simulations.bench.timing import interleaved

VALUES = (15_257, 927_297, 11_168_193)
"""Trained values of small_cnn, mobilenet_v3_small and resnet18."""


def aggregations(values: Sequence[int] = VALUES, repeats: int = 7) -> list[dict[str, Any]]:
    """Returns a row for each size, in processor seconds: a float32 sum in place, fixed point and its sum, all of it."""
    return [_row(size, repeats) for size in values]


def _row(size: int, repeats: int) -> dict[str, Any]:
    import numpy as np

    from common.config.study import StrategyConfig
    from common.protocol.aggregation import Update
    from common.protocol.messages import TrainAnswer
    from server.run.clipping import clipped
    from server.run.strategy import Combiner
    from server.run.updates import CheckedUpdate, checked_update

    old = {"weights": np.zeros(size, np.float32)}
    delta = {"weights": np.random.default_rng(0).normal(0, 1e-3, size).astype(np.float32)}
    answer = TrainAnswer(site="a", round_index=1, weight=100, epsilon_spent=None, arrays=delta)
    stream, adding, taking = np.zeros(size, np.float32), Combiner(StrategyConfig()), Combiner(StrategyConfig())
    for combiner in (adding, taking):
        combiner.add("first", Update.of(delta, 1))

    def everything() -> None:
        update = checked_update(answer, site="a", round_index=1, weight=100, arrays=old, max_norm=1e9)
        assert isinstance(update, CheckedUpdate)
        taking.add("a", clipped(update, 1e9))

    def floats() -> None:
        np.add(stream, delta["weights"], out=stream)

    plain, fixed, whole = interleaved(
        [floats, lambda: adding.add("a", Update.of(delta, 100)), everything], repeats, time.process_time
    )
    return {
        "values": size, "float32 sum (ms)": 1000 * plain, "fixed point (ms)": 1000 * fixed,
        "with checks (ms)": 1000 * whole, "fixed point/float32": fixed / plain, "all/float32": whole / plain,
    }  # fmt: skip
