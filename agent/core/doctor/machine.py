"""Judgements about the machine and what runs on it: programs, resources, versions, and what the agent reports."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agent.core.doctor.check import Outcome, fail, ok, warn
from agent.core.late import dataclass
from agent.core.replacement_way import Seen, obstacle, words

_START = "systemctl start fairlead; systemctl status fairlead shows why it ended"


@dataclass(frozen=True)
class Agent:
    """`status`: what the agent answers at its socket; None: nothing answers, because of `unread`."""

    status: Mapping[str, Any] | None
    unread: str = ""


def agent(seen: Agent) -> Outcome:
    if seen.status is None:
        return fail(f"no agent runs, so this host's Lease is not renewed: {seen.unread}", _START)
    return ok(str(seen.status["headline"]))


def ready(seen: Agent) -> Outcome:
    """What the agent names itself, for what no check has found."""
    status = seen.status or {}
    problems: Sequence[Mapping[str, str]] = status.get("problems", ())
    published = status.get("ready", {}).get("status", "")
    if not problems:
        said = f"Ready={published or 'not published'}"
        return (
            ok(said) if published == "True" else warn(f"{said}: {status.get('headline', '')}", "fairlead status")
        )
    worst = next((one for one in problems if one["severity"] == "fault"), problems[0])
    detail = f" ({worst['detail']})" if worst["detail"] else ""
    outcome = fail if worst["severity"] == "fault" and published != "True" else warn
    return outcome(f"{worst['text']}{detail} [{worst['reason']}]", worst["remedy"] or "see: fairlead status")


@dataclass(frozen=True)
class Versions:
    """`agent`, `proxy`: of the running processes, "" for none; `installed`, `current`: of the next start.
    `edited`: the file has other values than the running agent."""

    installed: str
    agent: str
    proxy: str
    current: str
    edited: bool = False


def versions(seen: Versions) -> Outcome:
    if seen.agent and seen.agent != seen.installed:
        why = f"the running agent is {seen.agent}, and {seen.installed} is installed"
        return warn(why, "systemctl restart fairlead: traffic goes on")
    if seen.edited:
        return warn("the agent runs with values from before the last edit of its file", "fairlead reload")
    if seen.proxy and seen.current and seen.proxy != seen.current:
        why = f"the running proxy is {seen.proxy}, and its next start is {seen.current}"
        return warn(why, "at a convenient time: fairlead proxy restart")
    return ok(f"fairlead {seen.installed}, proxy {seen.proxy or seen.current or 'unknown'}")


def replacement(seen: Seen) -> Outcome:
    """Two slots that were asked for and cannot be are a warning: the host serves, and a replacement drains it."""
    found = obstacle(seen)
    return warn(words(found), found.fix) if found and found.fix else ok(words(found))


# resources -----------------------------------------------------------------------------------------

_NEARLY: Final = 0.9  # of a limit


@dataclass(frozen=True)
class Disk:
    """Of the file system of /var/lib/fairlead."""

    path: str
    free: int  # bytes
    inodes: int  # free; -1: it has no fixed number
    writable: bool = True


_LEAST, _LEAST_INODES = 16 << 20, 100


def disk(seen: Disk) -> Outcome:
    if not seen.writable:
        return fail(
            f"the file system of {seen.path} is mounted read-only", "mount it read-write; see: journalctl -k"
        )
    if seen.free < _LEAST or 0 <= seen.inodes < _LEAST_INODES:
        why = f"{seen.path} has {seen.free >> 20} MiB and {seen.inodes} inodes left"
        return fail(why, f"free space there: df -hi {seen.path}")
    return ok(f"{seen.free >> 20} MiB left")


@dataclass(frozen=True)
class Used:
    """`what` → how much is in use, and the limit; without a limit it is left out."""

    amounts: Mapping[str, tuple[int, int]]


_LIMITS: Final = {
    "connection tracking": "sysctl -w net.netfilter.nf_conntrack_max=N, and in /etc/sysctl.d",
    "descriptors of the proxy": "systemctl edit fairlead-proxy: LimitNOFILE=",
    "memory of the proxy": "systemctl edit fairlead-proxy: MemoryMax=",
}


def limits(seen: Used) -> Outcome:
    near = {what: amounts for what, amounts in seen.amounts.items() if amounts[0] >= _NEARLY * amounts[1]}
    if near:
        what, (used, limit) = next(iter(near.items()))
        outcome = fail if used >= limit else warn
        return outcome(f"{what}: {_of(what, used, limit)} are in use", _LIMITS[what])
    return ok("; ".join(f"{what}: {_of(what, *amounts)}" for what, amounts in seen.amounts.items()))


def _of(what: str, used: int, limit: int) -> str:
    return f"{used >> 20} of {limit >> 20} MiB" if what.startswith("memory") else f"{used} of {limit}"
