"""The page is what Prometheus reads, on this machine only, and says nothing when it cannot say the truth."""

from __future__ import annotations

import json
import math
import re
import socket
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConfigError
from common.services.monitor import Metric, Monitor, Page, gauge, one_of, process_metrics

SAMPLE = re.compile(r'([a-z][a-z0-9_]*)(?:\{([a-z_]+)="((?:[^"\\\n]|\\[\\"n])*)"\})? (\S+)')
"""One line of the text exposition format 0.0.4, as its specification writes it."""

UNESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


def parsed(text: str) -> dict[tuple[str, str], float]:
    """Returns name and label -> value of a page in Prometheus' text format, read by its specification."""
    found: dict[tuple[str, str], float] = {}
    assert text == "" or text.endswith("\n")
    for line in text.split("\n")[:-1]:
        if line.startswith("#"):
            assert re.match(r"# (HELP|TYPE) [a-z0-9_]+ .", line)
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        label = re.sub(r"\\[\\\"n]", lambda hit: UNESCAPED[hit[0]], match[3] or "")
        assert (match[1], label) not in found
        found[match[1], label] = float(match[4])
    return found


@given(st.dictionaries(st.text(max_size=20), st.floats(allow_nan=False) | st.none(), max_size=6))
def test_any_label_and_value_is_read_back(values: Mapping[str, float | None]) -> None:
    metric = Metric(name="oncofed_x", help="What it is.", label="site", values=values)
    assert parsed(metric.text()) == {("oncofed_x", k): v for k, v in values.items() if v is not None}


def test_not_a_number_is_told_as_such() -> None:
    (value,) = parsed(gauge("oncofed_x", "What.", math.nan).text()).values()
    assert math.isnan(value)


@pytest.mark.parametrize("fields", [
    {"name": "Bad", "values": {}}, {"name": "x_total", "values": {}}, {"name": "x", "values": {}, "kind": "counter"},
    {"name": "x", "values": {"north": 1.0}},
])  # fmt: skip
def test_a_metric_that_prometheus_would_misread_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"Expected a name|no label"):
        Metric(help="What.", **fields)  # type: ignore[arg-type]


def test_one_status_is_true_at_a_time() -> None:
    assert parsed(one_of("s", "What.", "status", "b", ("a", "b")).text()) == {("s", "a"): 0.0, ("s", "b"): 1.0}


def test_the_first_life_is_no_restart() -> None:
    processes = {"worker": {"pid": 7, "lives": 3}, "supernode": {"pid": None, "lives": 0}}
    up, again = (parsed(metric.text()) for metric in process_metrics("p", processes))
    assert list(up.values()) == [1.0, 0.0] and list(again.values()) == [2.0, 0.0]


class TestServer:
    healthy = True

    @pytest.fixture
    def monitor(self) -> Iterator[Monitor]:
        def page() -> Page:
            if self.healthy is None:
                raise RuntimeError("patient-4711")
            return Page(self.healthy, {"status": "running"}, [gauge("oncofed_up", "What.", 1.0)])

        with Monitor(0, page) as found:
            yield found

    def get(self, monitor: Monitor, path: str, **headers: str) -> tuple[int, str]:
        connection = HTTPConnection(*monitor.address, timeout=20)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, body

    def test_health_decides_the_code(self, monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
        status, body = self.get(monitor, "/health")
        assert (status, json.loads(body)) == (200, {"schema_version": 1, "healthy": True, "status": "running"})
        self.healthy = False
        assert self.get(monitor, "/health")[0] == 503
        assert parsed(self.get(monitor, "/metrics")[1]) == {("oncofed_up", ""): 1.0}

    def test_an_error_says_nothing(self, monitor: Monitor) -> None:
        self.healthy = None  # type: ignore[assignment]
        assert self.get(monitor, "/metrics") == (500, "")

    @pytest.mark.parametrize("path", ["/", "/state.json", "/../ledger.sqlite", "/metrics?x", "/health/"])
    def test_there_is_no_other_page(self, monitor: Monitor, path: str) -> None:
        assert self.get(monitor, path) == (404, "")

    def test_a_foreign_name_for_this_machine_is_refused(self, monitor: Monitor) -> None:
        assert self.get(monitor, "/metrics", Host="rebound.example") == (421, "")

    def test_nothing_can_be_written(self, monitor: Monitor) -> None:
        connection = HTTPConnection(*monitor.address, timeout=20)
        connection.request("POST", "/health", body=b"")
        assert connection.getresponse().status == 501
        connection.close()

    def test_other_machines_cannot_reach_it(self, monitor: Monitor) -> None:
        assert monitor.address[0] == "127.0.0.1"
        with socket.socket() as stranger, pytest.raises(ConnectionRefusedError):
            stranger.connect(("127.0.0.2", monitor.address[1]))

    def test_a_port_in_use_is_the_operators_to_mend(self, monitor: Monitor) -> None:
        with (
            pytest.raises(ConfigError, match="choose another"),
            Monitor(monitor.address[1], lambda: Page(True, {}, [])),
        ):
            pass

    def test_no_port_no_page(self) -> None:
        with Monitor(None, lambda: Page(True, {}, [])) as found, pytest.raises(ConfigError, match="no port"):
            _ = found.address
