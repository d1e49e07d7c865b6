"""Tells glibc's malloc to keep large blocks instead of giving them back to the kernel after every step.

By default glibc maps each block over 32 MiB afresh, so that every training step page-faults it again; keeping the
blocks about halves the time of a step with large tensors, private or not.
"""

from __future__ import annotations

import ctypes
from functools import cache

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # <malloc.h>
_PAD_BYTES = 64 << 20


@cache
def keep_large_blocks() -> bool:
    """Returns whether the settings were taken; once a process, False where the C library is not glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, _PAD_BYTES))
    return all(mallopt(option, value) == 1 for option, value in settings)
