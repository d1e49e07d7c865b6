"""Talks to the hub's own SuperLink through Flower's command line, and keeps its node list equal to the registry."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from common.errors import NetworkError
from common.services.environment import flower_environment
from server.hub.home import HubHome
from server.hub.processes import CERTIFICATE_VARIABLE
from server.hub.registry import KnownSite, Registry

CONNECTION = "hub"
PULSE_SECONDS = 0.2


class Control:
    """The operator's side of the SuperLink on this machine.

    Args:
        home: The hub.
        pulse: Called before each of Flower's commands and, since one may take ``patience_seconds``, every
            :data:`PULSE_SECONDS` while it runs.
    """

    def __init__(self, home: HubHome, pulse: Callable[[], None] = lambda: None) -> None:
        self._home, self._config = home, home.config()
        self._pulse = pulse

    def alive(self) -> bool:
        """Tells whether the SuperLink answers, through the proxy if there is one, as a server of our authority."""
        import ssl

        context = ssl.create_default_context(cafile=str(self._home.ca))
        handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        try:
            url = f"https://{self._config.front}/health"
            with urllib.request.build_opener(*handlers).open(url, timeout=3) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def nodes(self) -> dict[int, str]:
        """Returns Flower's nodes: number -> ``registered``, ``online`` or ``offline``.

        Flower lists those that were unregistered too, and for ever; they are left out.

        Raises:
            NetworkError: The SuperLink does not answer.
        """
        answer = self._flwr("supernode", "list", CONNECTION)
        listed = {int(node["node-id"]): str(node["status"]) for node in answer.get("nodes") or []}
        return {node: status for node, status in listed.items() if status != "unregistered"}

    def follow_registry(self) -> None:
        """Registers the approved sites' keys and takes the revoked ones' away.

        Raises:
            NetworkError: The SuperLink does not answer, or refuses some; the others are done.
        """
        registry, nodes = Registry(self._home.sites_file), self.nodes()
        sites = registry.sites().values()
        wanted = {site.node_id for site in sites if site.status == "approved"}
        refused = [self._unregister(node) for node in nodes if node not in wanted]
        for site in sites:
            if site.status != "approved" and site.node_id:
                registry.set_node(site.name, 0)
            if site.status == "approved" and site.node_id not in nodes:
                refused.append(self._register(registry, site))
        if any(refused):
            raise NetworkError("; ".join(filter(None, refused)))

    def submit(self, app: Path, run_config: Mapping[str, str]) -> int:
        """Returns Flower's number of the run that it made of the app.

        Raises:
            NetworkError: Flower refuses it.
        """
        text = "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in run_config.items())
        with tempfile.TemporaryDirectory(prefix="oncofed-") as folder:
            config = Path(folder) / "run-config.toml"
            config.write_text(text, encoding="utf-8")
            answer = self._flwr("run", str(app), CONNECTION, "--run-config", str(config))
        self._require(answer)
        return int(answer["run-id"])

    def run_status(self, run_id: int) -> tuple[str, str]:
        """Returns Flower's word for the run and its reason.

        Raises:
            NetworkError: The SuperLink does not answer or does not know the run.
        """
        answer = self._flwr("ls", CONNECTION, "--run-id", str(run_id))
        self._require(answer)
        (run,) = answer["runs"]
        return str(run["status"]), str(run.get("status-details") or "")

    def stop_run(self, run_id: int) -> None:
        """Asks Flower to stop the run."""
        self._flwr("stop", str(run_id), CONNECTION)

    def _register(self, registry: Registry, site: KnownSite) -> str:
        """Returns why the SuperLink refuses the site's key, or nothing."""
        with tempfile.TemporaryDirectory(prefix="oncofed-") as folder:
            public = Path(folder) / "node.pub"
            public.write_text(f"{site.node_key} {site.name}\n", encoding="utf-8")
            answer = self._flwr("supernode", "register", str(public), CONNECTION, "--name", site.name)
        if not answer.get("success"):
            return f"{site.name}: {_reason(answer)}"
        registry.set_node(site.name, int(answer["node-id"]))
        return ""

    def _unregister(self, node: int) -> str:
        """Returns why the SuperLink keeps a node that no approved site has, or nothing."""
        answer = self._flwr("supernode", "unregister", str(node), CONNECTION)
        return "" if answer.get("success") else f"node {node}: {_reason(answer)}"

    def _flwr(self, *arguments: str) -> dict[str, Any]:
        self._write_connection()
        own = {CERTIFICATE_VARIABLE: str(self._home.operator)} if self._config.proxy else {}
        command = [sys.executable, "-m", "server.hub.processes", "flwr", *arguments, "--format", "json"]
        with subprocess.Popen(
            command, cwd=self._home.flower, env=flower_environment(self._home.flower, **own), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            try:
                return _json(*self._wait(process))
            except subprocess.TimeoutExpired:
                waited = f"{self._config.patience_seconds:g} s (patience_seconds in hub.yaml)"
                raise NetworkError(f"The SuperLink did not answer `flwr {arguments[0]}` in {waited}") from None
            finally:
                process.kill()

    def _wait(self, process: subprocess.Popen[str]) -> tuple[str, str]:
        """Returns what the command wrote to stdout and stderr, once it ended."""
        deadline = time.monotonic() + self._config.patience_seconds
        while True:
            self._pulse()
            try:
                return process.communicate(timeout=PULSE_SECONDS)
            except subprocess.TimeoutExpired:
                if time.monotonic() > deadline:
                    raise

    def _require(self, answer: Mapping[str, Any]) -> None:
        if not answer.get("success"):
            raise NetworkError(f"The SuperLink refused: {_reason(answer)}. Is the hub running? See: oncofed-hub status")

    def _write_connection(self) -> None:
        text = (
            f'[superlink]\ndefault = "{CONNECTION}"\n[superlink.{CONNECTION}]\n'
            f'address = "{self._config.front}"\nroot-certificates = "{self._home.ca}"\n'
        )
        path = self._home.flower / "config.toml"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _reason(answer: Mapping[str, Any]) -> str:
    return " ".join(str(answer.get("error-message") or "no reason given").split())[-300:]


def _json(stdout: str, stderr: str) -> dict[str, Any]:
    start, end = stdout.find("{"), stdout.rfind("}")
    try:
        return dict(json.loads(stdout[start : end + 1]))
    except json.JSONDecodeError:
        return {"success": False, "error-message": (stderr or stdout).strip()}
