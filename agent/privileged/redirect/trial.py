"""Rules on trial where the kernel has no timeouts: a systemd timer reverts them, even with agent and helper dead.

Law: the timer exists before the rules do. The rules to restore are in a file of root's, which is valid on the boot
that wrote it: after a reboot the rules are gone, and so is the trial. A timer that finds no trial does nothing.
"""

import json
import sys
import time
from pathlib import Path
from typing import Final

from agent.core.late import dataclass
from agent.core.reason import Reason
from agent.core.redirect import Ruleset, nft
from agent.host import Host, boot_id
from agent.privileged import Refusal
from agent.privileged.system import files, programs

_SYSTEMD: Final = Path("/run/systemd/system")  # exists while systemd is the system's manager
_LIBRARY: Final = Path(__file__).parents[3]
# The privileged helper's own bounds. A lock that is held makes it fail: it is tried again until it works.
_PROPERTIES: Final = (
    *("Type=oneshot", "Restart=on-failure", "RestartSec=1", "StartLimitIntervalSec=0", "TimeoutStartSec=15"),
    *("StandardInput=data", "NoNewPrivileges=yes"),
    "CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW CAP_SYS_PTRACE CAP_DAC_READ_SEARCH",
)


@dataclass(frozen=True)
class Record:
    """`before`: the rules that hold once the trial has expired. `left`: whole seconds, 0 once it has."""

    before: Ruleset
    left: int


def record(prefix: Path) -> Record | None:
    """Of the present trial; None: there is none, or it was on an earlier boot. Raises Refusal."""
    path = Host(prefix).trial
    if not path.exists():
        return None
    try:
        match json.loads(files.read(path)):
            case {"boot": str(boot), "until": float(until), "before": [*entries]}:
                left = max(0, round(until - time.monotonic()))
                return Record(nft.read({"nftables": entries}), left) if boot == boot_id() else None
    except ValueError:
        pass
    raise Refusal(f"cannot use {path}: it is not a record of a trial")


def begin(prefix: Path, before: Ruleset, seconds: int) -> None:
    """Raises Refusal; then there is no trial."""
    _must_be_possible()
    until = time.monotonic() + seconds
    files.write(Host(prefix).trial, json.dumps({"boot": boot_id(), "until": until, "before": _entries(before)}))
    try:
        _stop(prefix)
        _start(prefix, seconds)
    except Refusal:
        files.remove(Host(prefix).trial)
        raise


def amend(prefix: Path, before: Ruleset) -> None:
    """Other rules are restored once the trial has expired. Raises Refusal."""
    path = Host(prefix).trial
    files.write(path, json.dumps({**json.loads(files.read(path)), "before": _entries(before)}))


def end(prefix: Path) -> None:
    """Remove all of a trial. Raises Refusal."""
    if (Host(prefix).trial).exists():
        files.remove(Host(prefix).trial)
        _stop(prefix)


def unit(prefix: Path) -> str:
    """A name for each prefix: hosts may live side by side."""
    import hashlib  # with OpenSSL, which takes as long to load as what most requests do

    return f"fairlead-revert-{hashlib.sha256(str(prefix).encode()).hexdigest()[:8]}"


def _entries(rules: Ruleset) -> list[object]:
    entries = nft.transaction(rules)["nftables"]
    assert isinstance(entries, list)
    return [command["add"] for command in entries if "add" in command]


def _must_be_possible() -> None:
    if not _SYSTEMD.exists() or programs.find("systemd-run") is None:
        raise _impossible("systemd, whose timer is needed, does not run here")
    try:
        spaces = {Path(f"/proc/{process}/ns/net").stat().st_ino for process in ("self", 1)}
    except PermissionError:  # this is a container's root
        spaces = set()
    if len(spaces) != 1:
        raise _impossible("systemd, whose timer is needed, is not in this network namespace")


def _impossible(why: str) -> Refusal:
    detail = f"cannot put rules on trial: iptables has no timeouts, and {why}; apply them without --confirm"
    return Refusal(detail, Reason.REDIRECT_UNSUPPORTED)


def _start(prefix: Path, seconds: int) -> None:
    import base64

    request = base64.b64encode(json.dumps({"verb": "redirect revert", "due": "yes"}).encode() + b"\n").decode()
    done = programs.run(
        programs.find("systemd-run") or "",
        *("--quiet", "--collect", f"--unit={unit(prefix)}"),
        *(f"--on-active={seconds}", "--timer-property=AccuracySec=100ms"),
        *(f"--property={one}" for one in (*_PROPERTIES, f"StandardInputData={request}")),
        f"--setenv=PYTHONPATH={_LIBRARY}",
        *("--", sys.executable, "-S", "-P", "-m", "agent.privileged.helper", "--prefix", str(prefix)),
    )
    if done.returncode != 0:
        raise _impossible(f"systemd-run failed: {done.stderr.strip()}")


def _stop(prefix: Path) -> None:
    """A timer that no longer exists needs no stop; one that stays finds no trial."""
    if program := programs.find("systemctl"):
        programs.run(program, "stop", f"{unit(prefix)}.timer")
