"""What may be asked: one line of JSON, a verb and words of closed sets."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from agent.core.reasons import Reason

LIMIT: Final = 4096  # bytes of one request, its line end included

_LEVELS = frozenset({"off", "released", "block", "on"})
VERBS: Final[Mapping[str, Mapping[str, frozenset[str]]]] = {
    "redirect check": {},
    "redirect apply": {"inbound": _LEVELS, "outbound": _LEVELS},
    "redirect remove": {},
    "phase set": {"phase": frozenset({"member", "drained", "left"})},
}


# Why a verb failed, where there is no better reason.
_FAILURES: Final = {"phase set": Reason.PHASE_UNWRITABLE}


class BadRequest(Exception):
    """Nothing was done, because this is no request."""


@dataclass(frozen=True)
class Request:
    verb: str
    words: Mapping[str, str]

    @property
    def failure(self) -> Reason:
        return _FAILURES.get(self.verb, Reason.REDIRECT_FAILED)


def parse(line: bytes) -> Request:
    """Raises BadRequest for whatever is not exactly a known verb with exactly its words."""
    if len(line) > LIMIT:
        raise BadRequest(f"longer than {LIMIT} bytes")
    if not line.endswith(b"\n"):
        raise BadRequest("not one whole line")
    try:
        fields = json.loads(line, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise BadRequest("not JSON, or a key twice") from None
    match fields:
        case {"verb": str(verb), **words} if verb in VERBS:
            return Request(verb, _words(verb, words))
    raise BadRequest("no known verb")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError
    return dict(pairs)


def _words(verb: str, given: Mapping[object, object]) -> Mapping[str, str]:
    expected, words = VERBS[verb], {}
    if given.keys() != expected.keys():
        raise BadRequest(f"{verb!r} takes the keys: {', '.join(expected) or 'none'}")
    for key, choice in expected.items():
        value = given[key]
        if not isinstance(value, str) or value not in choice:
            raise BadRequest(f"{key!r} is one of: {', '.join(sorted(choice))}")
        words[key] = value
    return words
