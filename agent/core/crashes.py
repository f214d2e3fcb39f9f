"""How many starts of the proxy in a row have failed. Law: the built-in types alone, as `core.prepared`."""

from collections.abc import Iterable

STEADY = 600.0  # a proxy that ran this long, in seconds, did not fail to start: the count is reset
AT_ONCE = 10.0  # one that ends well before this was not asked to by anybody
SUCCESS = "success"  # $SERVICE_RESULT of an end that is no failure
# $EXIT_STATUS of a start that was stopped while it waited, for the proxy itself handles SIGTERM; root records it
# of a proxy that the privileged helper was asked to stop, too (prepared.STOPPED).
_ASKED = "TERM"

# The start program's exit code where the gate is closed while the host boots: no process was started, and its unit
# counts that as no failure (SuccessExitStatus=) and does not start it again (RestartPreventExitStatus=).
CLOSED_AT_BOOT = 75


# When, in seconds since boot, and $SERVICE_RESULT, $EXIT_CODE and $EXIT_STATUS of the unit; "" where it has none.
End = tuple[float, str, str, str]


def crashes_now(before: int, result: str, uptime: float, status: str = "") -> int:
    """`before`: as counted at the last start. `result`, `status`: of the unit at its end, $SERVICE_RESULT and
    $EXIT_STATUS; `uptime`: seconds since that start."""
    if status == str(CLOSED_AT_BOOT):
        return before
    asked = uptime >= AT_ONCE or status == _ASKED
    if uptime >= STEADY or (result == SUCCESS and asked):
        return 0
    return before + 1


def counted(before: int, began: float, ends: Iterable[End]) -> int:
    """`before`: as counted by the last start that came to count; `began`: when, in seconds since boot. Each end
    after another is that of a start which was ended before it counted."""
    for at, result, _, status in ends:
        if at > began:
            before, began = crashes_now(before, result, at - began, status), at
    return before


def written(crashes: int, began: float) -> str:
    """`began`: seconds since boot."""
    return f"{crashes} {began:.6f}\n"


def read(text: str) -> tuple[int, float] | None:
    """None: it is not such a record."""
    try:
        crashes, began = text.split()
        return int(crashes), float(began)
    except ValueError:
        return None


def read_ends(text: str) -> list[End]:
    """The last ones, the newest last."""
    return [end for line in text.splitlines() if (end := read_end(line)) is not None]


def read_end(text: str) -> End | None:
    """None: it is not such a record."""
    try:
        at, result, *how = text.split()
        code, status = (*how, "", "")[:2]
        return float(at), result, code, status
    except ValueError:
        return None
