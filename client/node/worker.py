"""The site's worker: takes requests from its SuperNode and answers each in a process of its own, already warm.

This process imports torch once and never touches a patient. For each request it forks a child that runs the
ClientApp **installed here**: what a hub sends as an app bundle is neither unpacked nor imported. A child that
crashes or hangs takes nothing with it.

Run as ``python -m client.node.worker --address HOST:PORT --secret FILE --deadline SECONDS``. Private names of Flower
are used here only; ``tests/client/node/test_supernode.py`` fails on a Flower that has moved them.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import pkgutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.cli.terminal import TIMED, LineFormatter
from common.flower.patches import HEARTBEAT_SECONDS, keep_beating, quicken
from common.provenance import code_digest
from common.services.supervisor import die_with_parent

log = logging.getLogger("oncofed.site")
WARM = ("client.app", "common.training.loop", "common.data", "common.evaluation", "common.models", "common.privacy")
POLL_SECONDS = 0.2
GRACE_SECONDS = 15.0
"""After its deadline a child may still send its refusal; then it is killed."""


def main() -> None:
    """Runs until SIGTERM, or until its daemon dies."""
    die_with_parent()
    arguments = _arguments()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(TIMED))
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    quicken(HEARTBEAT_SECONDS)
    keep_beating()
    _warm_up()
    worker = Worker(arguments.address, Path(arguments.secret).read_bytes(), arguments.deadline)
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    worker.run_for_ever()


class Worker:
    """Takes one request after the other, as the SuperNode hands them out."""

    def __init__(self, address: str, secret: bytes, deadline: float) -> None:
        self._address, self._secret, self._deadline = address, secret, deadline
        self._child: int | None = None

    def run_for_ever(self) -> None:
        """Waits for requests; Flower's client retries as long as the SuperNode is away."""
        log.info("The worker is warm")
        client = self._client()
        while True:
            token = self._acquire(client)
            if token:
                self._answer(token)
            else:
                time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Ends the request that is being answered, and this process, at once: nothing here needs an end."""
        if self._child is not None:
            os.kill(self._child, signal.SIGKILL)
        os._exit(0)

    def _client(self) -> Any:
        from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor, SuperExecAuthHttpInterceptor
        from flwr.supercore.retry import make_simple_http_retry_invoker
        from flwr.supercore.runtime import RuntimeHttpClient
        from flwr.supercore.superexec.run_superexec import _SUPEREXEC_AUTH_METHODS

        return RuntimeHttpClient.from_server_address(
            server_address=self._address,
            insecure=True,  # loopback; the secret below is never sent, only an HMAC under it
            root_certificates=None,
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name="SuperExec"),
                SuperExecAuthHttpInterceptor(master_secret=self._secret, protected_methods=_SUPEREXEC_AUTH_METHODS),
            ],
            retry_invoker=make_simple_http_retry_invoker(),
        )

    def _acquire(self, client: Any) -> str:
        """Returns the token of the next request, or nothing."""
        from flwr.proto.runtime_pb2 import AcquireTaskRequest
        from flwr.supercore.constant import TaskType

        answer = client.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP]))
        return str(answer.token) if answer.HasField("task") else ""

    def _answer(self, token: str) -> None:
        started, parent = time.monotonic(), os.getpid()
        self._child = os.fork()
        if self._child == 0:
            _child(self._address, token, self._deadline, parent)
        status = self._wait(self._child, started + self._deadline + GRACE_SECONDS)
        self._child = None
        log.info("A request took %.1f s (exit %s)", time.monotonic() - started, status)

    def _wait(self, child: int, until: float) -> int:
        while True:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > until:
                log.error("A request passed its deadline of %g s and is killed; the site connects anew", self._deadline)
                self.stop()
            time.sleep(0.05)


def _child(address: str, token: str, deadline: float, parent: int) -> None:
    """Answers one request and ends this process, whatever happens."""
    code = 70
    try:
        die_with_parent(parent)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _run_installed_app(address, token, deadline)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except BaseException:
        log.exception("A request could not be answered")
    finally:
        sys.stderr.flush()
        os._exit(code)


def _run_installed_app(address: str, token: str, deadline: float) -> None:
    from flwr.supernode.runtime import run_clientapp as flower

    vars(flower)["install_from_fab"] = lambda *_, **__: Path()
    vars(flower)["get_load_client_app_fn"] = lambda **_: lambda *__: bounded(_installed_app(), deadline)
    vars(flower)["Error"] = wordless
    flower.run_clientapp(runtime_api_address=address, token=token, insecure=True)


def wordless(*, code: int, reason: str) -> Any:
    """Returns the error that Flower sends to the hub where this process could not answer, without the site's text."""
    from flwr.app import Error

    return Error(code=code, reason="")


def _installed_app() -> Callable[..., Any]:
    from client.app import app

    return app


def bounded(app: Callable[..., Any], deadline: float) -> Callable[..., Any]:
    """Returns the app, answering with a refusal once ``deadline`` seconds have passed.

    What it was doing goes on in a thread until this process ends, a moment later.
    """

    def answer(message: Any, context: Any) -> Any:
        started, found = time.monotonic(), list[Any]()

        def work() -> None:
            try:
                found.append(app(message, context))
            except Exception:  # Flower would send its text to the hub
                log.exception("The request could not be answered")

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(deadline)
        if found:
            log.info("%s answered in %.1f s", message.metadata.message_type, time.monotonic() - started)
            return found[0]
        log.error("The request was not answered within %g s", deadline)
        return _unanswered(message)

    return answer


def _unanswered(message: Any) -> Any:
    """Returns a refusal, in the journal where that can be written; no word of what is wrong is in it, whatever is."""
    from flwr.app import Message, RecordDict

    from common.errors import SiteCode
    from common.protocol.messages import Refusal, pack_answer
    from common.protocol.signed_request import bind, claims_digest

    claims = claims_digest(message.content if message.has_content() else RecordDict())
    try:
        content = _journalled(claims)
    except Exception:
        log.exception("The refusal could not be journalled, so a code alone left")
        content = bind(pack_answer(Refusal(site="", code=SiteCode.UNKNOWN)), claims)
    return Message(content=content, reply_to=message)


def _journalled(claims: str) -> Any:
    from client.site import egress
    from client.site.site_file import site_home
    from common.errors import SiteCode
    from common.protocol.messages import Refusal, pack_answer
    from common.protocol.signed_request import bind

    home, code = site_home(), SiteCode.NO_ANSWER
    content = bind(pack_answer(Refusal(site=home.read().name, code=code)), claims)
    egress.append(home.egress, purpose="deadline", run="", round_index=0, content=content, refusal=code)
    return content


def _warm_up() -> None:
    """Imports what answering needs; a fork of this process has it at once."""
    import torch

    for name in WARM:
        package = importlib.import_module(name)
        for module in pkgutil.iter_modules(getattr(package, "__path__", [])):
            importlib.import_module(f"{name}.{module.name}")
    code_digest()  # of what was imported, should the files change while this process runs
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--secret", required=True)
    parser.add_argument("--deadline", type=float, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
