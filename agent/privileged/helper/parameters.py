"""The words that a request may carry: closed sets and checked shapes.

Law: no word names a network, a file or a user, nor a port that is redirected: those are read from root's own
files.
"""

import re
from collections.abc import Iterator, Mapping, Set
from typing import Final


class Shaped(Set[str]):
    """Every text of one shape. Whether what it names exists is checked where it is used."""

    def __init__(self, pattern: str, name: str) -> None:
        self._pattern, self.name = pattern, name

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and re.fullmatch(self._pattern, value, re.ASCII) is not None

    def __iter__(self) -> Iterator[str]:
        return iter((self.name,))

    def __len__(self) -> int:
        return 1


Words = Mapping[str, Set[str]]  # each key, and what it may be

NO_TRIAL: Final = "none"
NONE: Final[Words] = {}
YES: Final = frozenset({"yes"})
LEVELS: Final = frozenset({"off", "released", "block", "on"})
DIRECTIONS: Final = frozenset({"inbound", "outbound", "both"})
SLOTS: Final = frozenset({"main", "standby"})  # those of core.slots
PHASES: Final = frozenset({"member", "drained", "left"})
CONFIRM: Final = Shaped(
    rf"{NO_TRIAL}|[5-9]|[1-9]\d{{1,2}}|[12]\d{{3}}|3[0-5]\d\d|3600", f"{NO_TRIAL}, 5 to 3600 (seconds)"
)  # how long rules are on trial
VERSION: Final = Shaped(r"\d{1,4}\.\d{1,5}\.\d{1,5}", "a version like 2.366.0")
PROBE: Final = Shaped(r"[A-Za-z0-9._-]{1,63}", "the name of a probe")
MOMENT: Final = Shaped(r"\d{1,12}\.\d{6}", "seconds like 12.345678")
PORTS: Final = Shaped(r"\d{1,5}(,\d{1,5}){0,15}", "ports like 22,2222")
DIGEST: Final = Shaped(r"[0-9a-f]{64}", "a SHA-256 in hexadecimal digits")


def ports(word: str) -> frozenset[int]:
    """The ports in a word that PORTS allows; none in an empty one."""
    return frozenset(map(int, re.findall(r"\d+", word)))


def moment(word: str) -> float | None:
    """The moment in a word that MOMENT allows; None in any other."""
    return float(word) if word in MOMENT else None


def listed(choice: Set[str]) -> str:
    """For an error."""
    return ", ".join(sorted(choice))
