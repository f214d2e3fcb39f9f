"""What root remembers of the redirect: that it is suspended, and which configuration was approved or is on trial.

Law: these are root's own files below PREFIX/var/lib/fairlead; they outlive the agent, the privileged helper and
a reboot.
"""

import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.privileged import Refusal
from agent.privileged.system import files

_SUSPENDED: Final = "var/lib/fairlead/redirect-suspended"
# A prefix of its own, so that whoever reads the configuration reads this one alike.
_APPROVED: Final = "var/lib/fairlead/approved"
_TRIED: Final = "var/lib/fairlead/tried"
_READY_ONCE: Final = "var/lib/fairlead/ready-once"
_CONFIG: Final = "etc/fairlead/fairlead.toml"


class Cause(enum.Enum):
    SELF_TEST = "self-test"  # the rules did not do what they are for, or harmed; those from before came back
    UNCONFIRMED = "unconfirmed"  # on trial, or the time is over
    REVERTED = "reverted"  # an operator took back what was on trial
    REMOVED = "removed"  # an operator took the rules away


@dataclass(frozen=True)
class Suspension:
    cause: Cause
    detail: str = ""


def suspension(prefix: Path) -> Suspension | None:
    """Raises Refusal: the record is there and cannot be trusted."""
    path = prefix / _SUSPENDED
    if not path.exists():
        return None
    cause, _, detail = files.read(path).partition("\n")
    try:
        return Suspension(Cause(cause), detail.strip())
    except ValueError:
        raise Refusal(f"cannot use {path}: it says {cause!r}") from None


def suspend(prefix: Path, found: Suspension | None) -> None:
    """Remember it; None: what was remembered is lifted. Under `files.lock`. Raises Refusal."""
    path = prefix / _SUSPENDED
    if found is not None:
        files.write(path, f"{found.cause.value}\n{' '.join(found.detail.split())}\n")
    elif path.exists():
        files.remove(path)


def approve(prefix: Path, tested: Path) -> None:
    """Remember the configuration below `tested`: it was applied, tested, and confirmed where asked."""
    _keep(tested / _CONFIG, prefix / _APPROVED / _CONFIG)


def approved(prefix: Path) -> Path:
    """The prefix below which the configuration lies that was last approved; `prefix` itself if none was."""
    return prefix / _APPROVED if (prefix / _APPROVED / _CONFIG).exists() else prefix


def put_on_trial(prefix: Path) -> Path:
    """Remember the configuration of this moment as the one on trial; the prefix below which it lies."""
    _keep(prefix / _CONFIG, prefix / _TRIED / _CONFIG)
    return prefix / _TRIED


def tried(prefix: Path) -> Path:
    return prefix / _TRIED


def left(prefix: Path) -> bool:
    """An operator took this host out of the mesh."""
    path = prefix / "var/lib/fairlead/phase"
    return path.exists() and files.read(path) == "left\n"


def ready_once(prefix: Path, member: str) -> bool:
    """This host has been Ready since it was configured, as this member. Raises Refusal."""
    path = prefix / _READY_ONCE
    return path.exists() and files.read(path) == member


def record_ready(prefix: Path, member: str) -> None:
    """Under `files.lock`. Raises Refusal."""
    files.write(prefix / _READY_ONCE, member)


def forget_ready(prefix: Path) -> None:
    """A host that is taken out of the mesh begins anew when it comes back. Under `files.lock`. Raises Refusal."""
    if (prefix / _READY_ONCE).exists():
        files.remove(prefix / _READY_ONCE)


def _keep(source: Path, path: Path) -> None:
    text = files.read(source)
    if source != path and not (path.exists() and files.read(path) == text):
        files.write(path, text)
