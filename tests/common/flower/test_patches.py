"""Fails on a Flower that has moved the private names that the daemons lean on."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys


def _run(code: str) -> object:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_flowers_waits_are_shortened_where_they_are_used() -> None:
    found = _run("""
import inspect, json
from common.flower.patches import quicken
quicken(10.0)
from flwr.supercore import heartbeat
from flwr.supercore.inflatable import inflatable_utils
pause = inspect.signature(inflatable_utils.pull_objects).parameters["initial_backoff"].default
again = inspect.signature(inflatable_utils.pull_and_inflate_object_from_tree).parameters["initial_backoff"].default
from itertools import islice
from flwr.supercore.retry.http_retry import make_simple_http_retry_invoker
waits = max(islice(make_simple_http_retry_invoker().wait_gen_factory(), 50))
print(json.dumps([pause, again, heartbeat.HEARTBEAT_DEFAULT_INTERVAL, waits]))
""")
    assert found == [0.1, 0.1, 10.0, 4]


def test_a_task_may_take_long_to_start_where_it_is_claimed() -> None:
    found = _run("""
import inspect, json
from common.flower.patches import wait_for_tasks
wait_for_tasks(600.0)
from flwr.supercore.corestate import sql_corestate
claim = inspect.getsource(sql_corestate.SqlCoreState.claim_task)
print(json.dumps([sql_corestate.HEARTBEAT_DEFAULT_INTERVAL, "seconds=HEARTBEAT_DEFAULT_INTERVAL" in claim]))
""")
    assert found == [600.0, True]


def test_it_says_when_it_is_too_late() -> None:
    found = _run("""
import json
import flwr.supercore.inflatable.inflatable_utils
from common.flower.patches import quicken
try:
    quicken()
except RuntimeError as error:
    print(json.dumps(str(error)))
""")
    assert "after flwr.supercore.inflatable.inflatable_utils" in str(found)


def test_a_supernode_still_waits_through_its_time_module() -> None:
    from flwr.supernode import start_client_internal

    source = inspect.getsource(start_client_internal)
    assert "time.sleep(3)" in source and "time.sleep(0.5)" in source


def test_the_worker_still_finds_what_it_replaces_and_how_it_is_called() -> None:
    from flwr.supercore.interceptors import SuperExecAuthHttpInterceptor
    from flwr.supercore.superexec.run_superexec import _SUPEREXEC_AUTH_METHODS
    from flwr.supernode.runtime import run_clientapp as module

    source = inspect.getsource(module.run_clientapp)
    assert "install_from_fab(fab.content, skip_prompt=True)" in source
    assert "Message(Error(code=e_code, reason=reason), reply_to=message)" in source
    assert "load_client_app_fn(\n            run.fab_id, run.fab_version, fab.hash_str" in source
    assert {"runtime_api_address", "token", "insecure"} <= set(inspect.signature(module.run_clientapp).parameters)
    assert "/flwr.proto.Runtime/AcquireTask" in _SUPEREXEC_AUTH_METHODS
    assert {"master_secret", "protected_methods"} <= set(inspect.signature(SuperExecAuthHttpInterceptor).parameters)


def test_a_handshake_that_broke_off_is_tried_again_and_a_wrong_certificate_is_not() -> None:
    found = _run("""
import json
from common.flower.patches import endure_cuts, quicken
quicken()
endure_cuts()
import httpx
from flwr.supercore.protobuf.client import ProtobufClient
from flwr.supercore.retry.http_retry import make_simple_http_retry_invoker
said = {
    "eof": httpx.ConnectError("[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation (_ssl.c:1006)"),
    "slow": httpx.ConnectTimeout("_ssl.c:993: The handshake operation timed out"),
    "other": httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed (_ssl.c:1006)"),
}
tries = {}
for name, error in said.items():
    class Transport(httpx.BaseTransport):
        def handle_request(self, request):
            tries[name] = tries.get(name, 0) + 1
            if tries[name] == 1:
                raise error
            return httpx.Response(200)
    client = ProtobufClient("https://hub", verify=False)
    client._client._mounts, client._client._transport = {}, Transport()
    invoker = make_simple_http_retry_invoker()
    try:
        invoker.invoke(client._client.send, client._client.build_request("POST", "https://hub/x"))
    except httpx.ConnectError:
        pass
print(json.dumps(tries))
""")
    assert found == {"eof": 2, "slow": 2, "other": 1}


def test_a_sign_of_life_that_went_wrong_is_tried_again() -> None:
    found = _run("""
import json
from common.flower.patches import keep_beating, quicken
quicken()
keep_beating()
import threading
from flwr.supercore.heartbeat import HeartbeatSender
beats, enough = [], threading.Event()
def beat():
    beats.append(len(beats))
    if len(beats) == 1:
        raise RuntimeError("500")
    if len(beats) == 3:
        enough.set()
    return len(beats) == 3
sender = HeartbeatSender(beat)
sender._retry_invoker.wait_function = lambda seconds: None
sender.start()
print(json.dumps(enough.wait(30) and sender.is_running))
""")
    assert found is True


def test_every_client_of_flower_still_is_made_by_the_one_that_shows_the_certificate() -> None:
    from flwr.supercore.control.control_http_client import ControlHttpClient
    from flwr.supercore.protobuf.client import ProtobufClient
    from flwr.supernode.fleet_http_client import FleetHttpClient

    assert issubclass(ControlHttpClient, ProtobufClient) and issubclass(FleetHttpClient, ProtobufClient)
    parameters = inspect.signature(ProtobufClient.__init__).parameters
    assert list(parameters)[:2] == ["self", "base_url"] and "verify" in parameters
