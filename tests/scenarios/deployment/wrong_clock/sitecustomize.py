"""Starts every Python process of a site anew with ``clock.so`` loaded first, which stands beside this file.

OncoFed gives its processes a clean environment, so LD_PRELOAD itself would end at the daemon; PYTHONPATH does not.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

LIBRARY = str(Path(__file__).with_name("clock.so"))
if LIBRARY not in os.environ.get("LD_PRELOAD", ""):
    os.environ["LD_PRELOAD"] = LIBRARY
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
