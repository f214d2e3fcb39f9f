"""Linkerd's control plane: its version, and what is known of it."""

import re
from collections.abc import Iterator
from typing import Final

from agent.core.doctor.check import Outcome, fail, ok, unknown, warn
from agent.core.late import dataclass

Edge = tuple[int, int, int]


@dataclass(frozen=True)
class Known:
    """`until`: the first edge without it; `minor`: the first release 2.N without it; None: none yet."""

    text: str
    fix: str
    until: Edge | None
    minor: int | None
    fatal: bool = False


# docs/linkerd.md §0, §6
KNOWN: Final[tuple[Known, ...]] = (
    Known(
        "ExternalWorkloads have no status of their own, so no host can report",
        "upgrade Linkerd to 2.16 or later",
        (24, 3, 5),
        16,
        fatal=True,
    ),
    Known(
        "one malformed status stops the policy controller's view of every ExternalWorkload",
        "install admission.yaml, and let only agents write a status",
        (26, 1, 2),
        20,
    ),
    Known(
        "a Service selects ExternalWorkloads of other namespaces too",
        "use labels that no other namespace has",
        (26, 6, 2),
        None,
    ),
    Known(
        "deleting an ExternalWorkload that clients use can crash linkerd-destination",
        "take hosts out with fairlead retire, never with kubectl delete",
        None,
        None,
    ),
)
_EDGE: Final = re.compile(r"(?:^|[^\w])edge-(\d{2})\.(\d{1,2})\.(\d{1,2})")
_MINOR: Final = re.compile(r"(?:stable|enterprise|version)-2\.(\d{1,3})")


def version(found: str) -> Outcome:
    """`found`: as ConfigMap linkerd-config has it."""
    if not found:
        return unknown("ConfigMap linkerd-config does not say Linkerd's version", "--linkerd-namespace NAMESPACE")
    edge, minor = _EDGE.search(found), _MINOR.search(found)
    if edge is None and minor is None:
        return unknown(f"{found} is a version of which nothing is known")
    known = list(_of(found))
    if fatal := [one for one in known if one.fatal]:
        return fail(f"{found}: {fatal[0].text}", fatal[0].fix)
    if known:
        return warn(f"{found}: {'; '.join(one.text for one in known)}", "; ".join(one.fix for one in known))
    return ok(found)


def _of(found: str) -> Iterator[Known]:
    edge, minor = _EDGE.search(found), _MINOR.search(found)
    at = tuple(map(int, edge.groups())) if edge else None
    for one in KNOWN:
        if at is not None:
            if one.until is None or at < one.until:
                yield one
        elif minor is not None and (one.minor is None or int(minor[1]) < one.minor):
            yield one


def watcher(alive: bool) -> Outcome:
    if alive:
        return ok("it renews its Lease")
    why = "no watcher runs, so a host that dies stays in load balancing"
    return warn(why, "install it: config/cluster/watcher.yaml; or name its namespace: --watcher-namespace")
