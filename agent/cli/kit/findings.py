"""The findings of checks, for people and as JSON."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from agent.cli.kit.formatting import Look
from agent.core.doctor.check import Check, Finding, Result

SCHEMA = 1  # of the JSON: keys are added, never changed or removed
_MARKS = {Result.OK: "✓", Result.WARN: "!", Result.FAIL: "✗", Result.UNKNOWN: "…", Result.SKIPPED: "–"}
_COLOURS = {"!": "…"}  # whose colour a mark has
_NAME = 18


def as_json(findings: Sequence[Finding], version: str) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "fairlead": version,
        "summary": {result.value: count for result, count in _counts(findings).items()},
        "checks": [_plain(one) for one in findings],
    }


def _plain(one: Finding) -> dict[str, Any]:
    return {
        "name": one.check.name,
        "asks": one.check.asks,
        "result": one.outcome.result.value,
        "why": one.outcome.why,
        "fix": one.outcome.fix,
        "behind": one.behind,
    }


def render(findings: Sequence[Finding], look: Look) -> Iterator[str]:
    """In their order. What is skipped because its cause failed is only counted."""
    for one in findings:
        if not one.behind:
            yield from _lines(one, look)
    counts = _counts(findings)
    yield ""
    yield ", ".join(f"{counts[result]} {result.value}" for result in Result if counts[result])
    if silent := sum(bool(one.behind) for one in findings):
        yield f"{silent} not run, because a check before them failed"


def _lines(one: Finding, look: Look) -> Iterator[str]:
    mark, outcome = _MARKS[one.outcome.result], one.outcome
    said = outcome.why or one.check.asks
    first, *others = look.wrapped(f"{mark} {one.check.name:<{_NAME}} {said}", _NAME + 3)
    yield first.replace(mark, look.painted(mark, _COLOURS.get(mark, mark)), 1)
    yield from others
    if outcome.fix:
        yield from look.wrapped(f"    → {outcome.fix}", 6)


def _counts(findings: Sequence[Finding]) -> Counter[Result]:
    return Counter(one.outcome.result for one in findings if not one.behind)


def listed(checks: Sequence[Check]) -> Iterator[str]:
    for one in checks:
        notes = [*(["root"] if one.root else []), *([f"after {', '.join(one.needs)}"] if one.needs else [])]
        more = f" ({'; '.join(notes)})" if notes else ""
        yield f"{one.name:<{_NAME}} {one.asks}{more}"
