"""The Flower engine, for real: a SuperLink, Ray, a toy app; the truth about its end, and nothing left running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import psutil
import pytest

from common.errors import ConfigError, FederationError
from simulations.engine.environment import MARK, flower_environment
from simulations.engine.processes import ProcessTree
from simulations.engine.superlink import run_flower

PYPROJECT = """
[project]
name = "toy"
version = "1.0.0"
description = "toy"
license = "Apache-2.0"
dependencies = ["no-such-package-can-be-installed"]

[tool.flwr.app]
publisher = "oncofed"

[tool.flwr.app.components]
serverapp = "toyserver:app"
clientapp = "client:app"

[tool.flwr.app.config]
out-dir = ""
note = ""
fail = false
"""
# `client` is also the name of a package of ours: the import trap. Only the app's own knows "toy".
CLIENT = """
import os
from flwr.app import Message, MetricRecord, ConfigRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

@app.query()
def query(message, context):
    facts = {
        "kind": "toy",
        "partition": context.node_config["partition-id"],
        "partitions": context.node_config["num-partitions"],
        "threads": os.environ["OMP_NUM_THREADS"],
        "home": os.environ["FLWR_HOME"],
        "telemetry": os.environ["FLWR_TELEMETRY_ENABLED"],
        "mark": os.environ["ONCOFED_RUN_MARK"],
    }
    return Message(RecordDict({"facts": ConfigRecord(facts)}), reply_to=message)
"""
SERVER = """
import json, pathlib, time
from flwr.app import Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()

@app.main()
def main(grid, context):
    config = context.run_config
    if config["fail"]:
        raise RuntimeError("the toy breaks")
    while len(nodes := list(grid.get_node_ids())) < 2:
        time.sleep(0.1)
    replies = grid.send_and_receive([Message(RecordDict(), dst_node_id=n, message_type="query") for n in nodes])
    facts = [dict(r.content["facts"]) if r.has_content() else {"error": r.error.reason} for r in replies]
    document = {"facts": facts, "note": config["note"], "cwd": str(pathlib.Path.cwd())}
    pathlib.Path(config["out-dir"], "result.json").write_text(json.dumps(document))
"""
MAIN = """
import signal, sys
from pathlib import Path
from simulations.engine.superlink import run_flower

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
run_flower(Path(sys.argv[1]), num_nodes=2, run_config={}, log=Path(sys.argv[2]), tick=lambda: print("tick", flush=True))
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    folder = tmp_path / "toy"
    folder.mkdir()
    for name, text in (("pyproject.toml", PYPROJECT), ("client.py", CLIENT), ("toyserver.py", SERVER)):
        (folder / name).write_text(text)
    return folder


def _marks_of_children() -> set[str]:
    """Marks of all live processes that a run has started and this test has not."""
    marks = set()
    for process in psutil.process_iter():
        try:
            mark = process.environ().get(MARK)
        except (psutil.Error, OSError):
            continue
        if mark is not None and process.status() != psutil.STATUS_ZOMBIE:
            marks.add(mark)
    return marks


def test_a_run_is_followed_to_its_end_in_a_world_of_its_own(toy: Path, tmp_path: Path) -> None:
    before, during, ticks = _marks_of_children(), set[str](), []

    def tick() -> None:
        ticks.append(1)
        during.update(_marks_of_children())

    note = 'a "quoted" value, with = and \\ and ü'
    run = run_flower(
        toy,
        num_nodes=2,
        run_config={"out-dir": str(tmp_path), "note": note},
        log=tmp_path / "flower.log",
        tick=tick,
    )
    assert run.completed, run.log.read_text()[-3000:]
    result = json.loads((tmp_path / "result.json").read_text())
    assert [fact.get("kind") for fact in result["facts"]] == ["toy", "toy"], result
    assert {(fact["partition"], fact["partitions"]) for fact in result["facts"]} == {(0, 2), (1, 2)}
    assert {fact["threads"] for fact in result["facts"]} == {"1"}
    assert {fact["telemetry"] for fact in result["facts"]} == {"0"}
    assert result["note"] == note
    home = Path(result["facts"][0]["home"])
    assert home != Path.home() / ".flwr" and not home.exists()
    assert not Path(result["cwd"]).exists()
    assert ticks and "SuperLink" in run.log.read_text()
    own = {fact["mark"] for fact in result["facts"]}
    assert len(own) == 1 and own <= during and not own & before
    assert not own & _marks_of_children()


def test_a_server_app_that_raises_is_reported_failed_with_its_reason(toy: Path, tmp_path: Path) -> None:
    run = run_flower(toy, num_nodes=2, run_config={"fail": True}, log=tmp_path / "flower.log")
    assert run.status == "finished:failed" and not run.completed
    assert "the toy breaks" in run.details
    assert "the toy breaks" in run.log.read_text()


def test_a_config_that_flower_refuses_is_a_config_error(toy: Path, tmp_path: Path) -> None:
    (toy / "pyproject.toml").write_text(PYPROJECT.replace('clientapp = "client:app"', ""))
    with pytest.raises(ConfigError, match=r"Flower refuses the app.*clientapp"):
        run_flower(toy, num_nodes=2, run_config={}, log=tmp_path / "flower.log")


def test_a_dying_superlink_is_noticed(toy: Path, tmp_path: Path) -> None:
    def kill_it() -> None:
        for process in psutil.Process().children():
            if process.name() == "flower-superlin":  # Linux keeps 15 letters of it
                process.kill()

    with pytest.raises(FederationError, match="stopped by itself"):
        run_flower(toy, num_nodes=2, run_config={}, log=tmp_path / "flower.log", tick=kill_it)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_runner_that_is_ended_leaves_no_process(toy: Path, tmp_path: Path, number: signal.Signals) -> None:
    slow = SERVER.replace("    config = context.run_config", "    import time; time.sleep(600)\n    config = {}")
    (toy / "toyserver.py").write_text(slow)
    script = tmp_path / "main.py"
    script.write_text(MAIN)
    runner = subprocess.Popen(
        [sys.executable, str(script), str(toy), str(tmp_path / "flower.log")], stdout=subprocess.PIPE, text=True
    )
    tree = psutil.Process(runner.pid)
    assert runner.stdout is not None
    below: list[psutil.Process] = []
    for _ in runner.stdout:  # a tick each half second
        below = tree.children(recursive=True)
        if any("raylet" in process.name() for process in below):
            break
    assert len(below) > 4, (tmp_path / "flower.log").read_text()[-3000:]
    runner.send_signal(number)
    runner.communicate(timeout=150)
    _, alive = psutil.wait_procs(below, timeout=60)
    assert not alive, alive
    assert runner.returncode != 0


def test_the_environment_is_quiet_and_the_users_flower_home_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLWR_HOME", "/somebody/else")
    monkeypatch.setenv("FLWR_LOCAL_SUPERLINK_HTTP_API_PORT", "1")
    monkeypatch.setenv("RAY_ADDRESS", "ray-head:6379")
    for proxy in ("http_proxy", "HTTPS_PROXY", "all_proxy", "no_proxy"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    environment = flower_environment(flower_home=tmp_path, mark="m", scripts=tmp_path / "bin")
    assert not [name for name in environment if name.lower().endswith("_proxy")]
    assert environment["FLWR_HOME"] == str(tmp_path)
    assert environment["RAY_ADDRESS"] == "ray-head:6379"  # a cluster is the user's to choose
    assert "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT" not in environment
    assert environment["FLWR_TELEMETRY_ENABLED"] == environment["RAY_USAGE_STATS_ENABLED"] == "0"
    assert environment["PATH"].startswith(str(tmp_path / "bin") + os.pathsep)


def test_what_conducts_a_run_is_gone_before_it_can_blame_those_that_it_waits_for(tmp_path: Path) -> None:
    worker, conductor, blame = "import time; time.sleep(600)", tmp_path / "conductor", tmp_path / "blame"
    conductor.write_text(
        textwrap.dedent(
            f"""
            import signal, subprocess, sys
            signal.signal(signal.SIGTERM, lambda *_: None)
            with subprocess.Popen([sys.executable, "-c", {worker!r}]) as worker:
                print("up", flush=True)
                worker.wait()
                open({str(blame)!r}, "w").close()
                print("blamed", flush=True)
            """
        )
    )
    mark = f"test-{os.getpid()}-{threading.get_ident()}-conductor"
    with subprocess.Popen(
        [sys.executable, str(conductor)], env=os.environ | {MARK: mark}, stdout=subprocess.PIPE, text=True
    ) as parent:
        tree = ProcessTree(parent.pid, mark)
        assert parent.stdout is not None and parent.stdout.readline() == "up\n"
        tree.stop(conductor="conductor")
        assert parent.stdout.read() == "" and not blame.exists()
    assert mark not in _marks_of_children()


def test_a_tree_is_ended_even_when_a_grandchild_left_it_and_ignores_sigterm() -> None:
    code = textwrap.dedent(
        """
        import subprocess, sys
        deaf = "import signal as s, time; s.signal(s.SIGTERM, s.SIG_IGN); print('up', flush=True); time.sleep(600)"
        subprocess.Popen([sys.executable, "-c", deaf], start_new_session=True)
        """
    )
    mark = f"test-{os.getpid()}-{threading.get_ident()}"
    with subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | {MARK: mark}, stdout=subprocess.PIPE, text=True
    ) as parent:
        tree = ProcessTree(parent.pid, mark)
        assert parent.stdout is not None and parent.stdout.readline() == "up\n"
        parent.wait()  # the grandchild now belongs to init
        tree.stop(grace=0.2)
    assert mark not in _marks_of_children()
