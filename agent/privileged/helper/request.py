"""What may be asked: one line of JSON, a verb and words of closed sets.

Law: nothing here names a network, a file or a user, nor a port that is redirected: those are read from root's
own files.
"""

import json
import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Final

from agent.core.reasons import Reason
from agent.privileged import DEADLINE

LIMIT: Final = 4096  # bytes of one request, its line end included
NO_TRIAL: Final = "none"

_LEVELS = frozenset({"off", "released", "block", "on"})
_DIRECTIONS = frozenset({"inbound", "outbound", "both"})
# How long rules are on trial, in whole seconds.
_CONFIRM = frozenset({NO_TRIAL, *map(str, range(5, 3601))})


class _Shaped(Set[str]):
    """Every text of one shape. Which of them there is, is seen where it is used."""

    def __init__(self, pattern: str, name: str) -> None:
        self._pattern, self.name = re.compile(pattern, re.ASCII), name

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and self._pattern.fullmatch(value) is not None

    def __iter__(self) -> Iterator[str]:
        return iter((self.name,))

    def __len__(self) -> int:
        return 1


_VERSION = _Shaped(r"\d{1,4}\.\d{1,5}\.\d{1,5}", "a version like 2.366.0")
_PROBE = _Shaped(r"[A-Za-z0-9._-]{1,63}", "the name of a probe")
_PORTS = _Shaped(r"\d{1,5}(,\d{1,5}){0,15}", "ports like 22,2222")
_DIGEST = _Shaped(r"[0-9a-f]{64}", "a SHA-256 in hexadecimal digits")

Words = Mapping[str, Set[str]]  # each key, and what it may be
_NONE: Final[Words] = {}

# Verb → the words it takes; each of the alternatives is taken whole.
VERBS: Final[Mapping[str, tuple[Words, ...]]] = {
    "redirect check": (_NONE,),
    "redirect counters": (_NONE,),
    "redirect firewall": (_NONE,),
    "redirect watch": (_NONE,),
    # Levels: what the agent decided. A time: an operator wants the configuration as it stands now.
    # `session`: the ports by which an operator came, which can only make it stricter.
    "redirect apply": (
        {"inbound": _LEVELS, "outbound": _LEVELS},
        {"confirm": _CONFIRM},
        {"confirm": _CONFIRM, "session": _PORTS},
        {"confirm": _CONFIRM, "force": frozenset({"yes"})},
        {"confirm": _CONFIRM, "session": _PORTS, "force": frozenset({"yes"})},
    ),
    "redirect confirm": (_NONE,),
    "redirect revert": (_NONE, {"due": frozenset({"yes"})}),  # due: where a timer asks
    "redirect remove": (_NONE, {"now": frozenset({"yes"})}),
    "redirect adopt-guide": (_NONE, {"session": _PORTS}),
    "redirect accept-greetings": (_NONE,),
    "redirect arm": (_NONE,),
    "redirect failed": (_NONE,),
    "redirect restore": (_NONE,),
    "redirect block": ({"direction": _DIRECTIONS},),
    "redirect release": ({"direction": _DIRECTIONS},),
    "probe run": ({"probe": _PROBE},),
    "probe stop": ({"probe": _PROBE},),
    **{f"proxy {word}": (_NONE,) for word in ("start", "stop", "term", "kill", "reset-failed", "logs")},
    "ready record": (_NONE,),
    "proxy check": (_NONE, {"version": _VERSION}),
    "phase set": ({"phase": frozenset({"member", "drained", "left"})},),
    "proxy set-current": ({"version": _VERSION},),
    # What the agent found and keeps, under the digest that an operator read.
    "anchors accept": ({"digest": _DIGEST},),
}

# Why a verb failed, where there is no better reason.
_FAILURES: Final = {
    "phase set": Reason.PHASE_UNWRITABLE,
    "ready record": Reason.STATE_UNWRITABLE,
    "proxy set-current": Reason.PROXY_BINARY_UNUSABLE,
    "probe run": Reason.PROBE_FAILING,
    "probe stop": Reason.PROBE_FAILING,
    "anchors accept": Reason.TRUST_ANCHORS_UNWRITABLE,
}
# An operator's word ends or lifts a suspension, and says whom the host trusts: the agent, which may be
# compromised, has no say in it.
_OPERATORS: Final = frozenset(
    {
        "anchors accept",
        *(f"redirect {word}" for word in ("confirm", "revert", "remove", "adopt-guide", "accept-greetings")),
    }
)


class BadRequest(Exception):
    """Nothing was done, because this is no request."""


@dataclass(frozen=True)
class Request:
    verb: str
    words: Mapping[str, str]

    @property
    def failure(self) -> Reason:
        usual = Reason.PROXY_UNIT_FAILED if self.verb.startswith("proxy ") else Reason.REDIRECT_FAILED
        return _FAILURES.get(self.verb, usual)

    @property
    def session(self) -> frozenset[int]:
        """The ports by which an operator came."""
        return frozenset(map(int, re.findall(r"\d+", self.words.get("session", ""))))

    @property
    def deadline(self) -> float:
        """Seconds. A preflight asks the Workload API, a resolver and a program, and holds no lock."""
        return 13.0 if self.verb == "proxy check" else DEADLINE

    @property
    def operators(self) -> bool:
        """Root alone may ask it."""
        return self.verb in _OPERATORS or "confirm" in self.words


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
    expected = next((words for words in VERBS[verb] if given.keys() == words.keys()), None)
    if expected is None:
        shapes = " or ".join(", ".join(words) or "none" for words in VERBS[verb])
        raise BadRequest(f"{verb!r} takes the keys: {shapes}")
    words = {}
    for key, choice in expected.items():
        value = given[key]
        if not isinstance(value, str) or value not in choice:
            raise BadRequest(f"{key!r} is one of: {_listed(choice)}")
        words[key] = value
    return words


def _listed(choice: Set[str]) -> str:
    return ", ".join(sorted(choice)) if choice is not _CONFIRM else f"{NO_TRIAL}, 5 to 3600 (seconds)"
