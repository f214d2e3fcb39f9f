"""When a changed condition is written: at once if it affects the mesh, else together with others and rarely.

A write that does not flip Ready has no effect on the mesh, and makes linkerd-destination log an error. So any
other change is written only after it has lasted, together with others, and with a minimum interval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agent.core import conditions
from agent.core.conditions import Word
from agent.core.facts import Workload

# A host that comes up passes through several reasons; only one that has lasted this long, in seconds, counts.
LASTS = 5.0
# A change that has lasted waits this long, in seconds, for others that still change.
AT_MOST = 20.0
# Between two writes that do not flip Ready, in seconds.
SPACING = 60.0


@dataclass(frozen=True)
class Heard:
    """The current wanted conditions, and since when each is unchanged (monotonic seconds)."""

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
    """`words`: to be written now. `due`: seconds until a write may be due without a change; None: none is."""

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
