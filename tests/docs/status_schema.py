"""What `fairlead status --json` shows, by the types of the code: each path with its kind of value.

`python -m tests.docs.status_schema` writes the record again that a later version is compared with: after a key was
added, or with another number (`agent.core.snapshot.SCHEMA`).
"""

import dataclasses
import enum
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agent.core import snapshot
from agent.core.attempts import LastAttempt
from agent.core.facts import Facts, PhaseKind, Unknown
from agent.core.goals import Goals

RECORD = Path(__file__).parent / f"status_schema_{snapshot.SCHEMA}.txt"
_PLAIN: Mapping[Any, str] = {str: "text", int: "integer", float: "number", bool: "true or false"}
_PHASES = " or ".join(f"`{kind.value}`" for kind in PhaseKind)
_TOP = {
    "schema": ("integer", "the number of this schema"),
    "workload": ("text", "NAMESPACE/NAME of the ExternalWorkload"),
    "agent": ("text", "version of the agent"),
    "version": ("integer", "of this state: what `GET /v1/status?after=` takes"),
    "configuration": ("integer", "how many configurations this process has had"),
    "configuration_digest": ("text", "of the values that are in force, to compare: another one after an edit"),
    "proxy_version": ("text", "of the installed proxy"),
    "phase": (
        " or ".join(f"`{kind.value}`" for kind in PhaseKind) + " or `unknown`",
        "what an operator asked for",
    ),
    "ready.status": ("`True`, `False` or `Unknown`; empty", "Ready as it is published; empty: not at all"),
    "ready.reason": ("text", "its reason"),
    "headline": ("text", "one line for people"),
    "drained": ("true or false", "no request comes here any more"),
    "left": ("true or false", "this host is out of the mesh"),
    "conditions[].type": ("text", "without its prefix"),
    "conditions[].status": ("`True`, `False` or `Unknown`", "as the agent judges it"),
    "conditions[].reason": ("a reason", ""),
    "conditions[].message": ("text", "what the reason says of this host"),
    "problems[].reason": ("a reason", "see [reasons](reasons.md)"),
    "problems[].severity": ("text", ""),
    "problems[].text": ("text", "what is the case"),
    "problems[].detail": ("text", ""),
    "problems[].remedy": ("text", "what to do"),
    "credential.kind": ("text", "how the agent authenticates at the API server; the other keys depend on it"),
}


def rows() -> Iterator[tuple[str, str, str]]:
    """Path, kind of value, meaning."""
    yield from ((path, kind, meaning) for path, (kind, meaning) in _TOP.items())
    for name, of in (("attempts.NAME", LastAttempt), ("goals", Goals), ("facts", Facts)):
        yield from ((path, kind, "") for path, kind in _paths(name, of))


def _paths(path: str, of: Any) -> Iterator[tuple[str, str]]:
    hints = typing.get_type_hints(of)
    for one in dataclasses.fields(of):
        if one.repr:
            timed = one.name.endswith(("_at", "_since", "since"))
            yield from _of(f"{path}.{one.name}", hints[one.name], timed)


def _of(path: str, hint: Any, timed: bool) -> Iterator[tuple[str, str]]:
    options = _options(hint)
    holders = [one for one in options if dataclasses.is_dataclass(one)]
    items = [typing.get_args(one)[0] for one in options if typing.get_origin(one) is tuple]
    kinds = sorted({_kind(one, timed) for one in options})
    yield path, " or ".join(kinds)
    for holder in holders:
        yield from _paths(path, holder)
    for item in items:
        if dataclasses.is_dataclass(item):
            yield from _paths(f"{path}[]", item)


def _options(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return typing.get_args(hint)
    return (hint,)


def _kind(hint: Any, timed: bool) -> str:
    if hint is type(None):
        return "null"
    if hint is Unknown:
        return "`unknown`"
    if typing.get_origin(hint) is tuple:
        return "list"
    if dataclasses.is_dataclass(hint):
        return "object"
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        values = [str(one.value) for one in hint]
        return "a reason" if len(values) > 20 else " or ".join(f"`{one}`" for one in values)
    return "seconds from now" if hint is float and timed else _PLAIN[hint]


def record() -> str:
    return "".join(f"{path}\n" for path, _, _ in rows())


def page() -> str:
    lines = [
        "# The JSON of `fairlead status`",
        "",
        f"Schema {snapshot.SCHEMA}. Generated from the types of the code.",
        "",
        "`fairlead status --json` and `GET /v1/status` of the socket give one object. Under the same number",
        "keys are only added, so a reader ignores those that it does not know; where a key goes or changes",
        "its meaning, `schema` changes. Times are seconds from now, negative in the past; `not_before` and",
        "`not_after` of an SVID are seconds since the epoch.",
        "",
        "Without an agent (exit 69), and for users without the right to ask it (exit 77), the object has",
        "`schema`, `error`, `remedy` and `seen`: a list with `what`, `text`, `source`, and `since` (seconds",
        "since the epoch or null).",
        "",
        "| path | value | meaning |",
        "| --- | --- | --- |",
        *(f"| `{path}` | {kind} | {meaning} |" for path, kind, meaning in rows()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    RECORD.write_text(record())
