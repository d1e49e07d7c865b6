"""How a ClientApp process finds the site it works for.

In the simulator an installed *emulator* (entry point group ``oncofed.emulators``) makes the site from Flower's
``partition-id``. A hospital's node never carries a partition, so no emulator can be called there.
"""

from __future__ import annotations

from importlib import metadata

from flwr.app import Context

from client.site import Site
from common.errors import ConfigError

EMULATORS = "oncofed.emulators"


def open_site(context: Context) -> Site:
    """Returns the site that this node stands for.

    Raises:
        ConfigError: The node is neither an emulated hospital nor configured as a real one.
    """
    if "partition-id" in context.node_config:
        return _emulated(context)
    raise ConfigError("This node has no site: start it through the simulator, or with a site configuration")


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
