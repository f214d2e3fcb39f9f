"""When what differs is written: at once where the mesh acts upon it, else together and seldom.

A write that does not flip Ready tells the mesh nothing, and makes linkerd-destination log an error. So a word
that alone has changed is written when it has lasted, with the others that have, and at most once in a while.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agent.core import conditions
from agent.core.conditions import Word
from agent.core.facts import Workload

# A host that comes up passes through several reasons; only one that has lasted this long, in seconds, counts.
LASTS = 5.0
# A word that has lasted waits this long, in seconds, for those that still change.
AT_MOST = 20.0
# Between two writes that do not flip Ready, in seconds.
SPACING = 60.0


@dataclass(frozen=True)
class Heard:
    """The words of the moment, and since when each has been said (monotonic seconds)."""

    since: Mapping[str, tuple[Word, float]] = field(default_factory=dict)

    def hear(self, words: Sequence[Word], now: float) -> "Heard":
        fresh = {w.type: (w, now) for w in words}
        return Heard(
            {t: self.since[t] if self.since.get(t, (None,))[0] == new[0] else new for t, new in fresh.items()}
        )

    @property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for word, _ in self.since.values())


@dataclass(frozen=True)
class Plan:
    """`words`: to be written now. `due`: seconds until there may be some, though nothing changes; None: never."""

    words: tuple[Word, ...] = ()
    due: float | None = None


def plan(seen: Workload, heard: Heard, now: float, aside_at: float | None) -> Plan:
    """`aside_at`: when a write was last made that did not flip Ready."""
    new = conditions.differing(seen, heard.words)
    if not new or conditions.flips(seen, new):
        return Plan(heard.words if new else ())
    ages = [heard.since[word.type][1] for word in new]
    ready = min(max(ages) + LASTS, min(ages) + AT_MOST)
    if aside_at is not None:
        ready = max(ready, aside_at + SPACING)
    if now < ready:
        return Plan(due=ready - now)
    return Plan(tuple(word for word, since in heard.since.values() if since + LASTS <= now))
