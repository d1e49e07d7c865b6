"""A hub and three hospitals as hosts of their own: what each can reach of the other, and a wire that is pulled."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.scenarios.deployment.conftest import SITES, STUDY, Deployment
from tests.scenarios.deployment.steps import (
    OTHERS,
    VICTIM,
    all_back,
    below,
    completed,
    in_training,
    lost_only,
    paid_rounds,
    pass_time,
)
from tests.scenarios.deployment.wires import HUB_ADDRESS, Wires

pytestmark = pytest.mark.timeout(900)
LONG_SECONDS = 600.0
_TRY = """\
import json, socket, sys
open = []
for port in json.loads(sys.argv[2]):
    try:
        socket.create_connection((sys.argv[1], port), timeout=5).close()
        open.append(port)
    except OSError:
        pass
print(json.dumps(open))
"""


@dataclass
class Hosts(Deployment):
    """Three hospitals and a hub that have nothing in common but wires."""

    wires: Wires = field(default_factory=lambda: Wires(SITES))

    def on_host(self, name: str, command: list[str]) -> list[str]:
        return self.wires.on(name if name in SITES else "hub", command)

    def reached(self, host: str, address: str, ports: set[int]) -> set[int]:
        """Returns those of the ports that open to a host which tries them."""
        command = [sys.executable, "-c", _TRY, address, json.dumps(sorted(ports))]
        done = subprocess.run(self.on_host(host, command), capture_output=True, text=True, check=True)
        return set(json.loads(done.stdout))

    def listening(self, host: str) -> set[int]:
        """Returns the TCP ports on which something listens at a host."""
        show = self.on_host(host, ["ss", "--no-header", "--listening", "--tcp", "--numeric"])
        done = subprocess.run(show, capture_output=True, text=True, check=True)
        return {int(line.split()[3].rpartition(":")[2]) for line in done.stdout.splitlines()}


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory, real_data: Path) -> Iterator[Hosts]:
    folder = tmp_path_factory.mktemp("hosts")
    with Wires(SITES) as wires:
        made = Hosts(folder, STUDY, data=real_data, host=HUB_ADDRESS, wires=wires)
        try:
            yield made.prepare().start_all()
        finally:
            made.stop_all()
            shutil.rmtree(folder, ignore_errors=True)


def test_a_study_runs_between_hosts(hosts: Hosts) -> None:
    run = hosts.begin("hosts")
    completed(run.wait(hosts, LONG_SECONDS), run, hosts)
    assert all(paid_rounds(hosts, run.read("run.json")["run_id"], name) == [1, 2] for name in SITES)


def test_a_hospital_reaches_one_port_of_the_hub_and_the_hub_none_of_a_hospital(hosts: Hosts) -> None:
    of_hub = hosts.listening("hub")
    assert {hosts.port, hosts.inner_port, hosts.monitors["hub"]} <= of_hub
    assert hosts.reached("hub", "127.0.0.1", of_hub) >= {hosts.port, hosts.inner_port}
    for name in SITES:
        assert hosts.reached(name, HUB_ADDRESS, of_hub) == {hosts.port}
        of_site = hosts.listening(name)
        assert hosts.monitors[name] in of_site and hosts.reached(name, "127.0.0.1", of_site)
        assert hosts.reached("hub", hosts.wires.address(name), of_site) == set()


def test_a_wire_that_is_pulled_for_five_seconds_costs_nothing(hosts: Hosts) -> None:
    run = in_training(hosts, "five-seconds")
    hosts.wires.pull(VICTIM)
    pass_time(hosts, 5)
    hosts.wires.plug_in(VICTIM)
    completed(run.wait(hosts, LONG_SECONDS), run, hosts)
    assert paid_rounds(hosts, run.read("run.json")["run_id"]) == [1, 2]


def test_a_wire_that_is_pulled_costs_its_hospital_that_time(hosts: Hosts) -> None:
    run = in_training(hosts, "pulled")
    hosts.wires.pull(VICTIM)
    hosts.until(lambda: len(run.rounds()) == 1, LONG_SECONDS, "the round ends without it")
    hosts.wires.plug_in(VICTIM)
    status = run.wait(hosts, LONG_SECONDS)
    lost_only(status, run, hosts, "unavailable")
    assert set(run.rounds()[0]["joined"]) == OTHERS
    assert all(paid_rounds(hosts, status["run_id"], name) == [1, 2] for name in OTHERS)
    all_back(hosts)


def test_a_host_that_loses_its_power_is_named_and_comes_back(hosts: Hosts) -> None:
    """The wire goes with the processes, so nobody says goodbye to the hub."""
    run = in_training(hosts, "power")
    hosts.wires.pull(VICTIM)
    for process in (psutil.Process(hosts.processes[VICTIM].pid), *below(hosts, VICTIM)):
        process.kill()
    hosts.processes[VICTIM].wait()
    hosts.until(lambda: len(run.rounds()) == 1, LONG_SECONDS, "the round ends without it")
    hosts.wires.plug_in(VICTIM)
    hosts.start(VICTIM)
    status = run.wait(hosts, LONG_SECONDS)
    lost_only(status, run, hosts, "unavailable")
    assert paid_rounds(hosts, status["run_id"])[:1] == [1]
    all_back(hosts)
