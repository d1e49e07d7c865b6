"""What the fault scenarios share: bring a run to the moment of the fault, and say what it cost."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil
import yaml

from simulations.engine.deployment import surroundings

if TYPE_CHECKING:
    from tests.scenarios.deployment.conftest import Deployment, Run

VICTIM = "toshiba_aplio_300"
OTHERS = {"ge_logiq_5", "ge_logiq_7"}
EVERYBODY = ["ge_logiq_5", "ge_logiq_7", "toshiba_aplio_300"]
READY_SECONDS = 180.0


def in_training(deployment: Deployment, name: str) -> Run:
    """A run in which the victim has just paid for its first round, so that it trains now."""
    before = deployment.charges(VICTIM)
    run = deployment.begin(name)
    deployment.until(lambda: deployment.charges(VICTIM) > before, READY_SECONDS, "the victim trains")
    return run


def lost_only(status: dict[str, Any], run: Run, deployment: Deployment, *codes: str) -> None:
    """The victim and nobody else is lost, with one of ``codes``; the others took part in both rounds."""
    allowed = codes or ("unavailable", "training-failed", "no-answer")
    assert status["status"] == "PARTIAL", (status["reason"], deployment.tails())
    assert [site["name"] for site in status["sites"] if site["status"] == "lost"] == [VICTIM]
    assert status["reason"] in {f"lost: {VICTIM} ({code})" for code in allowed}
    assert all(set(row["joined"]) >= OTHERS for row in run.rounds())
    assert status["rounds_done"] == 2
    assert (run.folder / "report.html").exists()


def lost_at_most(status: dict[str, Any], run: Run, deployment: Deployment) -> None:
    """As :func:`lost_only`, or nothing was lost: the victim was back before it was asked."""
    if status["status"] == "COMPLETED":
        completed(status, run, deployment)
    else:
        lost_only(status, run, deployment)


def completed(status: dict[str, Any], run: Run, deployment: Deployment) -> None:
    """Nothing was lost: both rounds with all sites."""
    assert (status["status"], status["reason"]) == ("COMPLETED", ""), deployment.tails()
    assert [(row["round"], row["joined"]) for row in run.rounds()] == [(1, EVERYBODY), (2, EVERYBODY)]


def all_back(deployment: Deployment) -> None:
    deployment.until(lambda: deployment.online() == set(EVERYBODY), READY_SECONDS, "all sites online again")


def stays_out(deployment: Deployment) -> None:
    deployment.until(lambda: lives(deployment) >= 3, 120, "three tries")
    deployment.until(lambda: deployment.online() == OTHERS, 60, "the hub misses the site")


def lives(deployment: Deployment) -> int:
    return int(deployment.state(VICTIM)["processes"].get("supernode", {}).get("lives", 0))


def stop(deployment: Deployment, name: str = VICTIM) -> None:
    process = deployment.processes[name]
    process.terminate()
    process.wait(60)


def restart(deployment: Deployment, name: str = VICTIM, **environment: str) -> None:
    """Ends a site's daemon in good order and starts it anew, with more in its environment."""
    stop(deployment, name)
    (deployment.home(name) / "state.json").unlink()
    deployment.start(name, environment)


def change_settings(deployment: Deployment, **changes: Any) -> None:
    """Changes the victim's ``site.yaml``; it is back online with it."""
    write_settings(deployment, **changes)
    restart(deployment)
    all_back(deployment)


def write_settings(deployment: Deployment, **changes: Any) -> None:
    path = deployment.home(VICTIM) / "site.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))


def below(deployment: Deployment, name: str) -> list[psutil.Process]:
    """Everything that a daemon has started, and what that has started."""
    return list(psutil.Process(deployment.processes[name].pid).children(recursive=True))


def alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def kill_whole(deployment: Deployment, name: str) -> None:
    """Ends a daemon with kill -9; the kernel ends everything below it."""
    processes = below(deployment, name)
    deployment.kill(name)
    deployment.until(lambda: not any(map(alive, processes)), 30, f"the end of everything below {name}'s daemon")


def pass_time(deployment: Deployment, seconds: float) -> None:
    """The outage itself: nothing is waited for but its end."""
    end = time.monotonic() + seconds
    deployment.until(lambda: time.monotonic() >= end, seconds + 30, f"{seconds:g} s")


def paid_rounds(deployment: Deployment, run_id: str, name: str = VICTIM) -> list[int]:
    """The rounds of a run that a site's ledger was charged for, in order; one that was paid twice is there twice."""
    path = deployment.home(name) / "ledger.sqlite"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as ledger:
        rows = [json.loads(body) for (body,) in ledger.execute("SELECT body FROM rows ORDER BY seq")]
    return [int(row["round"]) for row in rows if row["kind"] == "charge" and row["run"] == run_id]


def findings(deployment: Deployment, name: str = VICTIM, **environment: str) -> dict[str, dict[str, Any]]:
    """What the site's doctor says, by check; seeded noise is a failure to it, so its exit code tells nothing here."""
    command = [sys.executable, "-m", "client.cli.daemon", "doctor", "--json", "--home", str(deployment.home(name))]
    around = surroundings(environment)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=around)
    return {finding["check"]: finding for finding in json.loads(done.stdout)["data"]["findings"]}
