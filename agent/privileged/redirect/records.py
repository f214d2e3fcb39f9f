"""Root's records of the redirect: a suspension, and the configuration that was approved or is on trial.

Law: these are root's own files below PREFIX/var/lib/fairlead; they outlive the agent, the privileged helper and
a reboot.
"""

import enum
from pathlib import Path
from typing import Final

from agent.core import slots
from agent.core.late import dataclass
from agent.core.redirect.trial import Stage
from agent.core.slots import Slot
from agent.host import Host
from agent.privileged import Refusal
from agent.privileged.system import files


class Cause(enum.Enum):
    SELF_TEST = "self-test"  # the rules failed or did harm; the previous ones were restored
    UNCONFIRMED = "unconfirmed"  # on trial, or the trial has expired
    REVERTED = "reverted"  # an operator reverted what was on trial
    REMOVED = "removed"  # an operator removed the rules


_STAGES: Final = {
    Cause.SELF_TEST: Stage.FAILED,
    Cause.UNCONFIRMED: Stage.EXPIRED,
    Cause.REVERTED: Stage.REVERTED,
    Cause.REMOVED: Stage.REMOVED,
}


@dataclass(frozen=True)
class Suspension:
    cause: Cause
    detail: str = ""


def stage(held: Suspension | None, *, on_trial: bool) -> Stage:
    """Of the trial, by what is recorded and what is live."""
    if on_trial:
        return Stage.ON_TRIAL
    return Stage.NONE if held is None else _STAGES[held.cause]


def host(source: Path) -> Path:
    """The prefix of the host whose configuration lies below `source`."""
    above = source.parents[3] if len(source.parents) > 3 else source
    return above if source in (Host(above).approved.prefix, Host(above).tried.prefix) else source


def active_slot(prefix: Path) -> Slot:
    """The one that the redirect names. Raises Refusal: the record is there and cannot be trusted."""
    path = Host(prefix).active_slot
    if not path.exists():
        return Slot.MAIN
    try:
        return Slot(files.read(path).strip())
    except ValueError:
        raise Refusal(f"cannot use {path}: it names no slot") from None


def admin_port(prefix: Path) -> int:
    """Of the proxy of that slot."""
    return slots.places()[active_slot(prefix)].admin_port


def name_slot(prefix: Path, slot: Slot) -> None:
    """Record it, after the rules name it. Under `files.lock`. Raises Refusal."""
    path = Host(prefix).active_slot
    if slot is not Slot.MAIN:
        files.write(path, f"{slot.value}\n")
    elif path.exists():
        files.remove(path)


def suspension(prefix: Path) -> Suspension | None:
    """Raises Refusal: the record is there and cannot be trusted."""
    path = Host(prefix).suspended
    if not path.exists():
        return None
    cause, _, detail = files.read(path).partition("\n")
    try:
        return Suspension(Cause(cause), detail.strip())
    except ValueError:
        raise Refusal(f"cannot use {path}: it says {cause!r}") from None


def suspend(prefix: Path, suspension: Suspension | None) -> None:
    """Record it; None: the suspension is lifted. Under `files.lock`. Raises Refusal."""
    path = Host(prefix).suspended
    if suspension is not None:
        files.write(path, f"{suspension.cause.value}\n{' '.join(suspension.detail.split())}\n")
    elif path.exists():
        files.remove(path)


def approve(prefix: Path, tested: Path) -> None:
    """Record the configuration below `tested`: it was applied, tested, and confirmed where asked."""
    _keep(Host(tested).configuration, Host(prefix).approved.configuration)


def approved(prefix: Path) -> Path:
    """The prefix of the configuration that was last approved; `prefix` itself if none was."""
    copy = Host(prefix).approved
    return copy.prefix if copy.configuration.exists() else prefix


def put_on_trial(prefix: Path) -> Path:
    """Record the present configuration as the one on trial; returns its prefix."""
    host = Host(prefix)
    _keep(host.configuration, host.tried.configuration)
    return host.tried.prefix


def tried(prefix: Path) -> Path:
    return Host(prefix).tried.prefix


def left(prefix: Path) -> bool:
    """An operator took this host out of the mesh."""
    path = Host(prefix).phase
    return path.exists() and files.read(path) == "left\n"


def ready_once(prefix: Path, member: str) -> bool:
    """This host has been Ready since it was configured, as this member. Raises Refusal."""
    path = Host(prefix).ready_once
    return path.exists() and files.read(path) == member


def record_ready(prefix: Path, member: str) -> None:
    """Under `files.lock`. Raises Refusal."""
    files.write(Host(prefix).ready_once, member)


def forget_ready(prefix: Path) -> None:
    """A host that has left the mesh starts from the beginning when it joins again. Under `files.lock`. Raises
    Refusal."""
    if (Host(prefix).ready_once).exists():
        files.remove(Host(prefix).ready_once)


def _keep(source: Path, path: Path) -> None:
    text = files.read(source)
    if source != path and not (path.exists() and files.read(path) == text):
        files.write(path, text)
