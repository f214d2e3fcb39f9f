"""Becomes linkerd2-proxy, as the proxy's own user and inside the sandbox of fairlead-proxy.service: the tested
path, which `start` takes where no plan holds.

An environment is code, so only root decides it: it is built from root-owned files, and nothing of this process's
environment is passed on. Exit codes are those of the proxy: 64 its configuration is refused, 1 it cannot be set
up; and those of a shell: 127 there is no binary, 126 it cannot be executed. The cause is written for the agent,
beside the gate's.

Law: the standard library, `core`, `config`, `values`, and what the privileged helper reads root's files by.
"""

import errno
import os
import sys
from pathlib import Path

from agent.core import proxy
from agent.core.reasons import Fault, Reason
from agent.core.slots import Slot
from agent.privileged import Refusal
from agent.privileged.proxy import launch
from agent.proxyunit import failed_starts

REFUSED, FAILED, NOT_EXECUTABLE, ABSENT = 64, 1, 126, 127


def become(prefix: Path, folder: Path, slot: Slot = Slot.MAIN) -> int:
    try:
        plan = launch.plan(prefix, slot=slot)
        if os.getuid() != plan.uid:
            cause = f"this is uid {os.getuid()}, and proxy.user is {plan.uid}; set User= of the unit by a drop-in"
            return _say(folder, REFUSED, cause)
        return execute(plan, folder)
    except (Refusal, proxy.Refused) as error:
        return _say(folder, REFUSED, str(error))
    except KeyError:
        return _say(folder, REFUSED, "proxy.user is not a user of this host")
    except OSError as error:
        return _say(folder, FAILED, f"{error.filename or ''}: {error.strerror}")


def execute(plan: launch.Launch, folder: Path) -> int:
    """Returns only where it fails."""
    try:
        os.execve(plan.binary, [plan.binary], dict(plan.environment))  # noqa: S606 - no shell is wanted
    except OSError as error:
        code = ABSENT if error.errno == errno.ENOENT else NOT_EXECUTABLE
        return _say(folder, code, f"{plan.binary}: {error.strerror}")


_REASONS = {
    REFUSED: Reason.PROXY_CONFIGURATION_REFUSED,
    FAILED: Reason.PROXY_FAILED_TO_START,
    NOT_EXECUTABLE: Reason.PROXY_BINARY_UNUSABLE,
    ABSENT: Reason.PROXY_BINARY_UNUSABLE,
}


def _say(folder: Path, code: int, cause: str) -> int:
    print(f"cannot start the proxy: {cause}", file=sys.stderr, flush=True)
    failed_starts.record(folder, Fault(_REASONS[code], cause))
    return code
