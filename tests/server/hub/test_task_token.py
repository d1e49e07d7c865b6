"""No other user of the hub's machine sees a task's token, and the ServerApp still gets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

TOKEN = "5ec4e7" * 8

SUPEREXEC = f"""
import importlib, sys
from common.flower.patches import quicken
quicken()
from flwr.supercore.constant import ExecutorType, TaskType
from flwr.supercore.superexec.executor.factory import get_executor
from flwr.supercore.superexec.executor.types import ExecutionSpec
from server.hub.processes import main

spec = ExecutionSpec(
    task_type=TaskType.SERVER_APP, runtime_api_address="127.0.0.1:1", token="{TOKEN}", insecure=True,
    root_certificates_path=None, runtime_dependency_install=False, parent_pid=1, suppress_output=True, task_id=1,
)
command = importlib.import_module("flwr.supercore.cli.flower_superexec")
command.flower_superexec = lambda: get_executor(ExecutorType.SUBPROCESS).launch(spec)
sys.argv[1:] = ["superexec"]
main()
"""

SERVERAPP = """#!{python}
import json, os, sys
from flwr.common.args import try_obtain_flwr_app_token
from flwr.superlink.cli.flwr_serverapp import _parse_args_run_flwr_serverapp
found = [sys.argv]
try:
    path = sys.argv[sys.argv.index("--token-file") + 1]
    found += [os.stat(path).st_mode & 0o777, os.path.exists(os.readlink(path))]
    found += [try_obtain_flwr_app_token(_parse_args_run_flwr_serverapp().parse_args())]
finally:
    with open("{out}", "w") as out:
        json.dump(found, out)
"""


def test_the_token_is_in_no_argument_and_in_no_file_with_a_name(tmp_path: Path) -> None:
    """The hub's SuperExec with one task: Flower's own executor, and Flower's own reading of the arguments."""
    out = tmp_path / "out"
    os.mkfifo(out)  # reading waits for the ServerApp, which nobody here has a handle of
    app = tmp_path / "flwr-serverapp"
    app.write_text(SERVERAPP.format(python=sys.executable, out=out))
    app.chmod(0o700)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    subprocess.run([sys.executable, "-c", SUPEREXEC], env=os.environ | {"PATH": path}, check=True, timeout=120)
    arguments, *rest = json.loads(out.read_text())
    assert not any(TOKEN in argument for argument in arguments)
    assert rest == [0o600, False, TOKEN]
