"""The trial of a redirect: the events, and which of them each stage allows.

An operator sets rules on trial and confirms them, or they are reverted, without need of an agent or a network. A
trial that was not confirmed suspends the redirect: the agent does not turn it on again until an operator acts.

Invariants, each tested over the whole table:
- what is on trial ends in exactly one way: kept, reverted, expired, failed, or removed;
- the agent turns a redirect on only where nothing is suspended, or as long as it is on trial;
- the agent may always close a port, unless an operator has removed the rules.
"""

import enum
from collections.abc import Mapping
from typing import Final


class Stage(enum.Enum):
    NONE = "none"  # what is in force was approved, or nothing is in force
    ON_TRIAL = "on trial"
    EXPIRED = "expired"  # its time ended without a confirmation
    REVERTED = "reverted"  # an operator reverted it
    FAILED = "failed"  # the rules did not do what they are for, or did harm
    REMOVED = "removed"  # an operator took every rule away


class Event(enum.Enum):
    TRY = "apply --confirm"
    APPLY = "apply"
    CONFIRM = "confirm"
    REVERT = "revert"
    REMOVE = "remove"
    EXPIRE = "its time ends"
    FAIL = "the self-test fails"


_TRIED: Final = "none is on trial"
_LATE: Final = "its time is over, and the rules from before are back"

# What an operator or the kernel may do in each stage, and where that leads. A text: it is refused, and why.
TABLE: Final[Mapping[Stage, Mapping[Event, Stage | str]]] = {
    stage: {
        Event.TRY: Stage.ON_TRIAL,
        Event.APPLY: Stage.NONE,
        Event.CONFIRM: _LATE if stage is Stage.EXPIRED else _TRIED,
        Event.REVERT: _LATE if stage is Stage.EXPIRED else _TRIED,
        Event.REMOVE: Stage.REMOVED,
        Event.EXPIRE: stage,  # a timer that finds no trial does nothing
        Event.FAIL: Stage.FAILED,
    }
    for stage in Stage
} | {
    Stage.ON_TRIAL: {
        Event.TRY: Stage.ON_TRIAL,
        Event.APPLY: Stage.NONE,
        Event.CONFIRM: Stage.NONE,
        Event.REVERT: Stage.REVERTED,
        Event.REMOVE: Stage.REMOVED,
        Event.EXPIRE: Stage.EXPIRED,
        Event.FAIL: Stage.FAILED,
    }
}

_OPEN: Final = frozenset({Stage.NONE, Stage.ON_TRIAL})


class Impossible(Exception):
    """The table refuses it."""


def after(stage: Stage, event: Event) -> Stage:
    """Raises Impossible, with the cause."""
    next_stage = TABLE[stage][event]
    if isinstance(next_stage, str):
        raise Impossible(next_stage)
    return next_stage


def agent_may_turn_on(stage: Stage) -> bool:
    return stage in _OPEN


def agent_may_close(stage: Stage) -> bool:
    return stage is not Stage.REMOVED
