"""One request: one line of JSON with a verb of the table and exactly its words."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from agent.core.late import dataclass
from agent.privileged import Answer, Refusal
from agent.privileged.helper.parameters import listed
from agent.privileged.helper.verbs import VERBS, Verb

LIMIT: Final = 4096  # bytes of one request, its line end included


class BadRequest(Exception):
    """Nothing was done, because this is not a request."""


@dataclass(frozen=True)
class Request:
    verb: str
    words: Mapping[str, str]

    @property
    def row(self) -> Verb:
        return VERBS[self.verb]

    def carry_out(self, prefix: Path) -> Answer:
        """Raises Refusal, also for a verb that the program itself answers."""
        if self.row.act is None:
            raise Refusal(f"cannot do {self.verb!r} here")
        return self.row.act(prefix, self.words)


def parse(line: bytes) -> Request:
    """Raises BadRequest unless it is exactly a known verb with exactly its words."""
    if len(line) > LIMIT:
        raise BadRequest(f"longer than {LIMIT} bytes")
    if not line.endswith(b"\n"):
        raise BadRequest("not one complete line")
    try:
        fields = json.loads(line, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise BadRequest("not JSON, or a duplicate key") from None
    match fields:
        case {"verb": str(verb), **words} if verb in VERBS:
            return Request(verb, _words(verb, words))
    raise BadRequest("unknown verb")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError
    return dict(pairs)


def _words(verb: str, given: Mapping[object, object]) -> Mapping[str, str]:
    forms = VERBS[verb].words
    expected = next((words for words in forms if given.keys() == words.keys()), None)
    if expected is None:
        shapes = " or ".join(", ".join(words) or "none" for words in forms)
        raise BadRequest(f"{verb!r} takes the keys: {shapes}")
    words = {}
    for key, choice in expected.items():
        value = given[key]
        if not isinstance(value, str) or value not in choice:
            raise BadRequest(f"{key!r} is one of: {listed(choice)}")
        words[key] = value
    return words
