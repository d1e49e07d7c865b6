"""How a ClientApp process finds the site it works for.

A hospital's daemon names its home in ``ONCOFED_SITE_HOME``, and then nothing but its ``site.yaml`` is opened. In the
simulator an installed *emulator* (entry point group ``oncofed.emulators``) makes the site from Flower's
``partition-id``.
"""

from __future__ import annotations

import os
from importlib import metadata

from flwr.app import Context

from client.site.hospital import Site
from client.site.site_file import HOME_VARIABLE, open_real_site, site_home
from common.errors import ConfigError

EMULATORS = "oncofed.emulators"


def open_site(context: Context) -> Site:
    """Returns the site that this node stands for.

    Raises:
        ConfigError: The node is neither an emulated hospital nor configured as a real one.
        DataError: The hospital's data cannot be used.
    """
    if os.environ.get(HOME_VARIABLE):
        return open_real_site(site_home())
    if "partition-id" in context.node_config:
        return _emulated(context)
    raise ConfigError("This node has no site: start it through the simulator, or with oncofed-site start")


def _emulated(context: Context) -> Site:
    points = list(metadata.entry_points(group=EMULATORS))
    if not points:
        raise ConfigError("No emulator is installed; install the project itself: pip install -e .")
    site = points[0].load()(
        partition_id=int(context.node_config["partition-id"]),
        num_partitions=int(context.node_config["num-partitions"]),
        run_config=dict(context.run_config),
        run_id=context.run_id,
    )
    if not isinstance(site, Site):
        raise ConfigError(f"The emulator {points[0].value} returned no site")
    return site
