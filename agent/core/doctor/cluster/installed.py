"""Whether the cluster has what this version ships, as JSON: each field that is shipped must be there and equal.
What the server adds (defaults, metadata) does not count, and "${…}" stands for any text."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agent.core.doctor.check import Outcome, ok, warn
from agent.core.late import dataclass

Json = Mapping[str, Any]
COMPARED = (
    "ClusterRole",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "PriorityLevelConfiguration",
    "FlowSchema",
)


@dataclass(frozen=True)
class Pair:
    """`live`: None where there is none."""

    shipped: Json
    live: Json | None

    @property
    def title(self) -> str:
        return f"{self.shipped['kind']} {self.shipped['metadata']['name']}"


@dataclass(frozen=True)
class Installed:
    """`file`: of config/cluster. `without`: what follows where it is absent."""

    file: str
    pairs: Sequence[Pair]
    without: str


def installed(seen: Installed) -> Outcome:
    absent = [pair.title for pair in seen.pairs if pair.live is None]
    fix = f"kubectl apply -f {seen.file}, as its first lines say"
    if len(absent) == len(seen.pairs):
        return warn(f"not installed: {seen.without}", fix)
    if absent:
        return warn(f"absent: {', '.join(absent)}", fix)
    other = [f"{pair.title} at {found}" for pair in seen.pairs if pair.live and (found := _first(pair))]
    if other:
        return warn(f"not of this version: {', '.join(other)}", fix)
    return ok(f"{seen.file}, of this version")


def _first(pair: Pair) -> str:
    """The first place where they differ; "": they do not."""
    ignored = ("metadata", "status", "apiVersion", "kind")
    shipped = {key: value for key, value in pair.shipped.items() if key not in ignored}
    return next(differences(shipped, pair.live), "")


def differences(shipped: Any, live: Any, path: str = "") -> Iterator[str]:
    match shipped:
        case dict():
            theirs = live if isinstance(live, dict) else {}
            for key, value in shipped.items():
                yield from differences(value, theirs.get(key), f"{path}.{key}".lstrip("."))
        case list():
            if not isinstance(live, list) or len(live) != len(shipped):
                yield path
                return
            for number, value in enumerate(shipped):
                yield from differences(value, live[number], f"{path}[{number}]")
        case str() if "${" in shipped:
            return
        case _:
            if shipped != live:
                yield path
