"""No core file of this process: what it holds in memory (a token, a new identity) stays there."""

import ctypes
import os
import resource

_PR_SET_DUMPABLE = 4  # linux/prctl.h


def no_core_files() -> None:
    """For this process; a program that it starts may be dumped again, but writes no file of any size.

    The limit alone is not enough: where the kernel pipes core files to a program (systemd-coredump), it ignores
    limits. A process that is not dumpable cannot be traced by others of its user either.
    """
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
