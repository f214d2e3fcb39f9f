"""The findings of checks, for people and as JSON."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from agent.cli.kit.formatting import Look
from agent.core.doctor.check import NEEDS_ROOT, NO_ANSWER, Check, Finding, Result

SCHEMA = 1  # of the JSON: keys are added, never changed or removed
_MARKS = {Result.OK: "✓", Result.WARN: "!", Result.FAIL: "✗", Result.UNKNOWN: "…", Result.SKIPPED: "–"}
_COLOURS = {"!": "…"}  # whose colour a mark has
_NAME = 19


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
    yield ""
    yield from look.wrapped(", ".join(_summary(findings)), 2)
    if silent := sum(bool(one.behind) for one in findings):
        yield f"{silent} not run, because a check that they depend on failed"
    shown = [one.outcome for one in findings if not one.behind]
    if any(one.result is Result.UNKNOWN and one.why.startswith(NO_ANSWER) for one in shown):
        yield "what did not answer gets more time with --timeout SECONDS"
    if any(one.result is Result.SKIPPED and one.why.startswith(NEEDS_ROOT) for one in shown):
        yield "what needs root is checked by: sudo fairlead doctor"


def _summary(findings: Sequence[Finding]) -> Iterator[str]:
    """How many of each result; of those that ask for something to be done, which."""
    counts = _counts(findings)
    for result in filter(counts.get, Result):
        names = [one.check.name for one in findings if one.outcome.result is result and not one.behind]
        named = f" ({', '.join(names)})" if result in (Result.WARN, Result.FAIL) else ""
        yield f"{counts[result]} {result.value}{named}"


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
