"""Runs a Flower app on Flower's simulation runtime, from the SuperLink's start to its last process's end.

The SuperLink is ours alone: its home, port, database and environment live in a temporary folder. It starts in an
empty folder, because Ray's workers import packages called ``client`` or ``common`` from the folder it was started
in before those of the app. What became of the run is asked of Flower; ``flwr run`` itself exits with 0 even when
the run failed.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from common.errors import ConfigError, FederationError
from simulations.engine.ended import sigterm_interrupts
from simulations.engine.environment import flower_environment

CONNECTION = "oncofed"
POLL_SECONDS = 0.5
ASK_SECONDS = 15.0
"""Between two calls of ``flwr ls``, each of which takes a second of a core; the end of a run is seen without it."""
LAST_WORDS_SECONDS = 5.0
"""What the log of a finished run may take to arrive."""
RAY_FOLDER_LENGTH = 40
CONDUCTOR = "flwr-simulation"
"""Flower's command that runs the ServerApp and waits for the simulated clients."""

Tick = Callable[[], None]


@dataclass(frozen=True, slots=True)
class FlowerRun:
    """What became of a run.

    Attributes:
        run_id: Flower's number of the run.
        status: Flower's word, such as ``finished:completed``.
        details: Flower's reason when it failed, else empty.
        log: Everything the runtime printed.
    """

    run_id: int
    status: str
    details: str
    log: Path

    @property
    def completed(self) -> bool:
        """Whether Flower finished the run. A ServerApp may still have had nothing to show for it."""
        return self.status == "finished:completed"


def run_flower(
    app_dir: Path,
    *,
    num_nodes: int,
    run_config: Mapping[str, str | int | float | bool],
    log: Path,
    cpus_per_client: int = 1,
    gpus_per_client: float = 0.0,
    environment: Mapping[str, str] | None = None,
    patience: float = 600.0,
    tick: Tick = lambda: None,
    say: Callable[[str], None] = lambda text: None,
) -> FlowerRun:
    """Returns how Flower's simulation of the app in ``app_dir`` ended, after everything it started has ended.

    Args:
        app_dir: A folder whose ``pyproject.toml`` is a Flower app.
        num_nodes: Simulated SuperNodes.
        run_config: Overrides of ``[tool.flwr.app.config]``.
        log: File that gets everything the runtime prints.
        cpus_per_client: CPU cores that one simulated client holds; cores divided by it train at once.
        gpus_per_client: Share of a GPU that it holds as well; 0: it sees none.
        environment: More variables for all of Flower's processes.
        patience: Longest time, seconds, that the SuperLink may take to start, and a ``flwr`` command to answer.
        tick: Called about twice a second while the run is on.
        say: Told what is waited for before the run begins.

    Raises:
        ConfigError: Flower is not installed with its simulation runtime, or refuses the app.
        FederationError: The SuperLink does not start, or dies.
        KeyboardInterrupt: On Ctrl-C or SIGTERM, once everything is stopped.
    """
    say("waiting for Flower's SuperLink")
    federation = federation_config(num_nodes, cpus_per_client, gpus_per_client)
    with _superlink(log, patience, environment or {}) as superlink:
        say("waiting for Flower to take the app")
        run_id = superlink.submit(app_dir, run_config, federation)
        say(f"waiting for {num_nodes} emulated hospitals")
        return superlink.follow(run_id, tick)


def federation_config(num_nodes: int, cpus_per_client: int, gpus_per_client: float) -> str:
    """Returns Flower's ``--federation-config``."""
    resources = f"client-resources-num-cpus={cpus_per_client} client-resources-num-gpus={gpus_per_client:g}"
    return f"num-supernodes={num_nodes} {resources}"


@contextlib.contextmanager
def _superlink(log: Path, patience: float, environment: Mapping[str, str]) -> Iterator[SuperLink]:
    scripts = _scripts()
    from simulations.engine.processes import watchdog

    mark = secrets.token_hex(8)
    with (
        tempfile.TemporaryDirectory(prefix="oncofed-", ignore_cleanup_errors=True) as folder,
        watchdog(mark, Path(folder)),
        log.open("wb") as sink,
        sigterm_interrupts(),
    ):
        superlink = SuperLink(Path(folder), scripts, mark=mark, log=log, sink=sink, patience=patience)
        superlink.add_to_environment(environment)
        try:
            superlink.start()
            yield superlink
        finally:
            with _undisturbed():
                superlink.stop()


class SuperLink:
    """One SuperLink in simulation mode, with a home and a port of its own."""

    def __init__(self, folder: Path, scripts: Path, *, mark: str, log: Path, sink: IO[bytes], patience: float) -> None:
        self._patience = patience
        self._folder, self._scripts, self._mark, self._log, self._sink = folder, scripts, mark, log, sink
        self._port = _free_port()
        self._home = folder / "home"
        self._empty = folder / "empty"
        self._environment = flower_environment(flower_home=self._home, mark=self._mark, scripts=scripts)
        # Ray makes Unix sockets below its folder, and their paths bear about 100 characters only.
        if "RAY_ADDRESS" not in self._environment and len(str(folder)) < RAY_FOLDER_LENGTH:
            self._environment["RAY_TMPDIR"] = str(folder)

    def add_to_environment(self, more: Mapping[str, str]) -> None:
        """Sets variables of all processes that it starts from now on."""
        self._environment |= more

    def start(self) -> None:
        """Starts it and returns when it answers.

        Raises:
            FederationError: It exits, or does not answer in time.
        """
        from simulations.engine.processes import ProcessTree

        self._home.mkdir()
        self._empty.mkdir()
        self._write_connection()
        self._process = self._start(*self._command())
        self._tree = ProcessTree(self._process.pid, self._mark)
        self._wait_until_it_answers()

    def submit(self, app_dir: Path, run_config: Mapping[str, Any], federation: str) -> int:
        """Returns the id of the run that Flower made of the app.

        Raises:
            ConfigError: Flower refuses it, with Flower's reason.
        """
        config = self._folder / "run-config.toml"
        config.write_text(_toml(run_config), encoding="utf-8")
        arguments = ["run", str(app_dir), CONNECTION, "--federation-config", federation]
        if run_config:
            arguments += ["--run-config", str(config)]
        answer = self._flwr(*arguments)
        if not answer.get("success") or not answer.get("run-id"):
            raise ConfigError(f"Flower refuses the app in {app_dir}: {_reason(answer)}")
        return int(answer["run-id"])

    def follow(self, run_id: int, tick: Tick) -> FlowerRun:
        """Returns how the run ended, once it has; what its apps print goes to the log meanwhile.

        Raises:
            FederationError: The SuperLink died.
        """
        with self._start("flwr", "log", str(run_id), CONNECTION, "--stream") as printing:
            try:
                run = self._wait_for_end(run_id, tick)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    printing.wait(LAST_WORDS_SECONDS)
                return run
            finally:
                printing.kill()

    def _wait_for_end(self, run_id: int, tick: Tick) -> FlowerRun:
        seen, asked = False, time.monotonic()
        while True:
            tick()
            self._require_alive()
            working = self._tree.runs(CONDUCTOR)
            ended, seen = seen and not working, seen or working
            if ended or time.monotonic() - asked > ASK_SECONDS:
                asked = time.monotonic()
                run = self._ask(run_id)
                if run.status.startswith("finished:"):
                    tick()
                    return run
                seen = working
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Ends it and everything below it."""
        if hasattr(self, "_tree"):
            self._tree.stop(conductor=CONDUCTOR)
            self._process.wait()

    def _ask(self, run_id: int) -> FlowerRun:
        answer = self._flwr("ls", CONNECTION, "--run-id", str(run_id))
        runs = answer.get("runs") or []
        if not runs:
            raise FederationError(f"Flower does not know its run {run_id} any more: {_reason(answer)}; see {self._log}")
        details = str(runs[0].get("status-details") or "")
        return FlowerRun(run_id=run_id, status=str(runs[0]["status"]), details=details, log=self._log)

    def _start(self, command: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts one of Flower's commands in a session of its own, printing to the log."""
        return subprocess.Popen(
            [str(self._scripts / command), *arguments],
            cwd=self._empty,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _flwr(self, *arguments: str) -> dict[str, Any]:
        """Returns what a ``flwr`` command answers as JSON; what it says besides goes to the log."""
        command = [str(self._scripts / "flwr"), *arguments, "--format", "json"]
        try:
            done = subprocess.run(
                command,
                cwd=self._empty,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                start_new_session=True,
                timeout=self._patience,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise FederationError(
                f"`flwr {arguments[0]}` did not answer within {self._patience:g} s; see {self._log}"
            ) from None
        self._sink.write(done.stderr)
        return _json(done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def _command(self) -> list[str]:
        return [
            "flower-superlink",
            "--insecure",  # no TLS: it listens on this machine's loopback address only
            "--simulation",
            "--disable-runtime-dependency-installation",
            *("--host", "127.0.0.1"),
            *("--port", str(self._port)),
            *("--database", str(self._home / "state.db")),
        ]

    def _write_connection(self) -> None:
        address = (
            f'[superlink]\ndefault = "{CONNECTION}"\n[superlink.{CONNECTION}]\naddress = "127.0.0.1:{self._port}"\n'
        )
        (self._home / "config.toml").write_text(address + "insecure = true\n", encoding="utf-8")

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + self._patience
        while not _healthy(self._port):
            self._require_alive()
            if time.monotonic() > deadline:
                raise FederationError(f"Flower's SuperLink did not answer within {self._patience:g} s; see {self._log}")
            time.sleep(POLL_SECONDS / 2)

    def _require_alive(self) -> None:
        code = self._process.poll()
        if code is not None:
            raise FederationError(f"Flower's SuperLink stopped by itself (exit code {code}); see {self._log}")


def _scripts() -> Path:
    """Returns the folder of Flower's commands that belong to this interpreter.

    Raises:
        ConfigError: The simulation runtime is not installed here.
    """
    import importlib.util

    folder = Path(sys.executable).parent
    missing = [name for name in ("ray", "psutil") if importlib.util.find_spec(name) is None]
    if missing or not (folder / "flower-superlink").exists():
        raise ConfigError(
            f"Flower's simulation runtime is not installed here (missing: {', '.join(missing) or 'flower-superlink'}); "
            "run: pip install 'oncofed[simulation]', or use --engine inprocess"
        )
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _healthy(port: int) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _toml(values: Mapping[str, Any]) -> str:
    """Returns flat values as TOML; JSON's strings, numbers and booleans are TOML's too."""
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())


def _json(stdout: str, stderr: str) -> dict[str, Any]:
    start, end = stdout.find("{"), stdout.rfind("}")
    try:
        document = json.loads(stdout[start : end + 1])
    except json.JSONDecodeError:
        return {"success": False, "error-message": (stderr or stdout).strip()}
    return dict(document)


def _reason(answer: Mapping[str, Any]) -> str:
    text = str(answer.get("error-message") or "no reason given")
    return " ".join(text.split())[-500:]


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Keeps a second Ctrl-C from leaving processes behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
