"""What an import has made so far, and how it names objects."""

from collections.abc import Mapping
from typing import Any

from agent.core.enrol.request import Problem
from agent.core.late import dataclass, field

Json = dict[str, Any]


@dataclass
class Imported:
    """`notes`: what was changed, and why, by object."""

    bodies: list[Json] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def note(self, body: Json, text: str) -> None:
        self.notes.append(f"{body.get('kind')} {name(body)}: {text}")

    def problem(self, body: Json, cause: str, remedy: str) -> None:
        """`cause`: what the object has or lacks: "has no ports"."""
        self.problems.append(Problem(f"{body.get('kind')} {name(body)} {cause}", remedy))


def namespace(body: Json) -> str:
    return str(body["metadata"].get("namespace", ""))


def name(body: Json) -> str:
    """For people: NAMESPACE/NAME, or NAME alone."""
    return f"{namespace(body)}/{body['metadata']['name']}" if namespace(body) else str(body["metadata"]["name"])


def labels(body: Json) -> Mapping[str, str]:
    return body["metadata"].get("labels") or {}
