"""How a proxy ended, the reason, and how long to wait before the next start. Pure values."""

import re
import signal

from agent.core.backoff import Backoff
from agent.core.proxy import INBOUND_PORT, OUTBOUND_PORT
from agent.core.reason import Fault, Reason

CRASHES = Backoff(first=0.2, factor=2.0, most=30.0)

_EXITS: dict[int, tuple[Reason, str]] = {
    0: (Reason.PROXY_STOPPED, ""),
    1: (Reason.PROXY_FAILED_TO_START, "exit 1: no usable trust anchor, or the admin port is taken"),
    64: (Reason.PROXY_CONFIGURATION_REFUSED, "exit 64"),
    # The launcher's, which becomes the proxy; as a shell has them.
    126: (Reason.PROXY_BINARY_UNUSABLE, "exit 126: its binary cannot be executed"),
    127: (Reason.PROXY_BINARY_UNUSABLE, "exit 127: its binary is not there"),
    101: (
        Reason.PROXY_PANICKED,
        f"exit 101: it panicked, as it does when {INBOUND_PORT} or {OUTBOUND_PORT} is taken",
    ),
}


# How a proxy ends that was started and that nobody asked to end.
ENDS = frozenset(
    {
        Reason.PROXY_CRASHED,
        Reason.PROXY_KILLED,
        Reason.PROXY_OUT_OF_MEMORY,
        Reason.PROXY_PANICKED,
        Reason.PROXY_FAILED_TO_START,
        Reason.PROXY_CONFIGURATION_REFUSED,
    }
)


def exit_fault(returncode: int, out_of_memory: bool = False) -> Fault:
    """Why it ended, from an exit code or, negative, the number of a signal."""
    if out_of_memory:
        return Fault(Reason.PROXY_OUT_OF_MEMORY, "killed by SIGKILL: no memory was left for it")
    if returncode < 0:
        reason = Reason.PROXY_KILLED if returncode == -signal.SIGKILL else Reason.PROXY_CRASHED
        return Fault(reason, _signal_detail(-returncode))
    reason, detail = _EXITS.get(returncode, (Reason.PROXY_CRASHED, f"exit {returncode}"))
    return Fault(reason, detail)


def _signal_detail(number: int) -> str:
    name = {known.value: known.name for known in signal.Signals}.get(number, f"signal {number}")
    hint = "; if no process sent it, the kernel ran out of memory: see journalctl -k" if name == "SIGKILL" else ""
    return f"killed by {name}{hint}"


# systemd's words -----------------------------------------------------------------------------------

_EXITED, _KILLED, _DUMPED = 1, 2, 3  # CLD_… of waitid(2), as ExecMainCode has them


def unit_fault(result: str, code: int, status: int) -> Fault:
    """The same from a unit's Result, ExecMainCode and ExecMainStatus."""
    if result == "oom-kill":
        return exit_fault(-signal.SIGKILL, out_of_memory=True)
    match code:
        case 1:
            return exit_fault(status)
        case 2 | 3:
            return exit_fault(-status)
    return Fault(Reason.PROXY_CRASHED, "exit status unknown")


def ended_fault(result: str, code: str, status: str) -> Fault:
    """The same from $SERVICE_RESULT, $EXIT_CODE and $EXIT_STATUS, of a proxy that nobody asked to end."""
    if result == "oom-kill":
        return exit_fault(-signal.SIGKILL, out_of_memory=True)
    try:
        fault = exit_fault(int(status) if code == "exited" else -signal.Signals[f"SIG{status}"])
    except (ValueError, KeyError):
        return Fault(Reason.PROXY_CRASHED)
    return fault if fault.reason is not Reason.PROXY_STOPPED else Fault(Reason.PROXY_CRASHED, "exit 0")


def oom_kills(text: str) -> int:
    """How many processes of a control group the kernel has killed out of memory, from its memory.events
    (cgroup v2) or memory.oom_control (v1)."""
    match = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
    return int(match[1]) if match else 0


# a proxy that lives and does not work ----------------------------------------------------------------

_DEAD_WORKER = "buffer's worker closed unexpectedly"


def may_lose_workers(version: str) -> bool:
    """Below 2.346 a short outage of the control plane can end workers inside the proxy permanently
    (docs/linkerd.md §1.6)."""
    match = re.fullmatch(r"v?(\d+)\.(\d+)\..*", version)
    return match is None or (int(match[1]), int(match[2])) < (2, 346)


def lost_a_worker(log: str) -> bool:
    return _DEAD_WORKER in log
