"""The verbs: one row each, with who may request it, its words, and its handler.

The agent may be compromised. What ends or lifts a suspension, applies a configuration, or says whom this host
trusts is for root alone.
"""

import importlib
from collections.abc import Callable, Mapping, Set
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from agent.core.facts import Level
from agent.core.late import dataclass
from agent.core.reason import Reason
from agent.privileged import DEADLINE, SETS, Answer
from agent.privileged.helper import parameters as may
from agent.privileged.helper.parameters import NO_TRIAL, NONE, YES, Words

if TYPE_CHECKING:
    from agent.privileged.proxy import anchors, versions
    from agent.privileged.redirect import (
        counters,
        firewalled,
        greetings,
        handlers,
        membership,
        operator_verbs,
        reading,
        turning,
    )
    from agent.privileged.units import probe, proxy
else:

    class _Later:
        """A module that the first use imports: a request needs those of its own verb, and starts in half the time
        without the others."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, name: str) -> Any:
            return getattr(importlib.import_module(f"agent.privileged.{self._name}"), name)

    anchors, versions = _Later("proxy.anchors"), _Later("proxy.versions")
    counters, firewalled, greetings = map(
        _Later, ("redirect.counters", "redirect.firewalled", "redirect.greetings")
    )
    handlers, membership = _Later("redirect.handlers"), _Later("redirect.membership")
    operator_verbs, reading = _Later("redirect.operator_verbs"), _Later("redirect.reading")
    probe, proxy, turning = _Later("units.probe"), _Later("units.proxy"), _Later("redirect.turning")

Given = Mapping[str, str]  # the words of one request


_SLOT: Final[Words] = {"slot": may.SLOTS}


class Who(Enum):
    AGENT = "the agent, and root"
    ROOT = "root alone"


@dataclass(frozen=True)
class Verb:
    """`words`: each of the alternatives is taken whole. `failure`: the reason of a failure that names none.
    `deadline`: seconds. `act` None: the program itself answers."""

    who: Who
    failure: Reason
    act: Callable[[Path, Given], Answer] | None
    words: tuple[Words, ...] = (NONE,)
    deadline: float = DEADLINE


def _redirect(act: Callable[[Path], Answer], who: Who = Who.AGENT) -> Verb:
    return Verb(who, Reason.REDIRECT_FAILED, lambda prefix, _: act(prefix))


def _sets(who: Who, act: Callable[[Path, Given], Answer], *words: Words) -> Verb:
    return Verb(who, Reason.REDIRECT_FAILED, act, words or (NONE,), SETS)


def _proxy(act: Callable[[Path, str], Answer]) -> Verb:
    """Of the unit of a slot; without the word of main's."""
    return Verb(
        Who.AGENT,
        Reason.PROXY_UNIT_FAILED,
        lambda prefix, given: act(prefix, given.get("slot", "main")),
        (NONE, _SLOT),
    )


def _set(prefix: Path, given: Given) -> Answer:
    judged = may.moment(given.get("judged", ""))
    return handlers.apply(prefix, Level(given["inbound"]), Level(given["outbound"]), judged)


def _apply(prefix: Path, given: Given) -> Answer:
    seconds = None if given["confirm"] == NO_TRIAL else int(given["confirm"])
    return operator_verbs.apply_configured(prefix, seconds, _session(given), force="force" in given)


def _session(given: Given) -> frozenset[int]:
    """The ports of the operator's session, which can only make a verb stricter."""
    return may.ports(given.get("session", ""))


def _one_way(level: Level) -> Verb:
    return _sets(
        Who.AGENT,
        lambda prefix, given: handlers.one_way(prefix, given["direction"], level),
        {"direction": may.DIRECTIONS},
    )


_LEVELS: Final[dict[str, Set[str]]] = {"inbound": may.LEVELS, "outbound": may.LEVELS}
_JUDGED: Final[dict[str, Set[str]]] = {"judged": may.MOMENT}
_CONFIRM: Final[dict[str, Set[str]]] = {"confirm": may.CONFIRM}
_SESSION: Final[dict[str, Set[str]]] = {"session": may.PORTS}
_FORCE: Final[dict[str, Set[str]]] = {"force": YES}
_PROBE: Final = ({"probe": may.PROBE},)

VERBS: Final[Mapping[str, Verb]] = {
    "redirect check": _redirect(lambda prefix: reading.check(prefix)),
    "redirect counters": _redirect(lambda prefix: {"rules": counters.read(prefix)}),
    "redirect firewall": _redirect(lambda prefix: firewalled.judge(prefix)),
    "redirect watch": Verb(Who.AGENT, Reason.REDIRECT_FAILED, None),
    # The levels that the agent decided, of the configuration in force. `judged`: when it read that the proxy is
    # not ready, in seconds of CLOCK_MONOTONIC.
    "redirect set": _sets(Who.AGENT, _set, _LEVELS, _LEVELS | _JUDGED),
    # The configuration as it stands in root's file now, kept or on trial.
    "redirect apply": _sets(
        Who.ROOT, _apply, _CONFIRM, _CONFIRM | _SESSION, _CONFIRM | _FORCE, _CONFIRM | _SESSION | _FORCE
    ),
    "redirect confirm": _sets(Who.ROOT, lambda prefix, _: operator_verbs.confirm(prefix)),
    "redirect revert": _sets(
        Who.ROOT,
        lambda prefix, given: operator_verbs.revert(prefix, due="due" in given),
        *(NONE, {"due": YES}),  # due: the request comes from a timer
    ),
    "redirect remove": _sets(
        Who.ROOT, lambda prefix, given: operator_verbs.remove(prefix, now="now" in given), NONE, {"now": YES}
    ),
    "redirect adopt-guide": _sets(
        Who.ROOT, lambda prefix, given: operator_verbs.adopt_guide(prefix, _session(given)), NONE, _SESSION
    ),
    "redirect accept-greetings": _redirect(lambda prefix: greetings.accept(prefix), Who.ROOT),
    "redirect arm": _sets(Who.AGENT, lambda prefix, _: handlers.arm(prefix)),
    "redirect failed": _sets(Who.AGENT, lambda prefix, _: handlers.failed(prefix)),
    "redirect restore": _sets(Who.AGENT, lambda prefix, _: handlers.restore(prefix)),
    # New connections go to the proxy of that slot, once it is proved ready.
    "redirect turn": _sets(Who.AGENT, lambda prefix, given: turning.turn(prefix, given["slot"]), _SLOT),
    "redirect block": _one_way(Level.BLOCK),
    "redirect release": _one_way(Level.RELEASED),
    "probe run": Verb(
        Who.AGENT, Reason.PROBE_FAILING, lambda prefix, given: probe.run(prefix, given["probe"]), _PROBE
    ),
    "probe stop": Verb(
        Who.AGENT, Reason.PROBE_FAILING, lambda prefix, given: probe.stop(prefix, given["probe"]), _PROBE
    ),
    # Before the agent itself starts a proxy there, where no unit does.
    "proxy addresses": _proxy(lambda prefix, slot: proxy.addresses(prefix, slot)),
    "proxy start": _proxy(lambda prefix, slot: proxy.start(prefix, slot)),
    "proxy stop": _proxy(lambda prefix, slot: proxy.stop(prefix, slot)),
    "proxy term": _proxy(lambda prefix, slot: proxy.term(prefix, slot)),
    "proxy kill": _proxy(lambda prefix, slot: proxy.kill(prefix, slot)),
    "proxy reset-failed": _proxy(lambda prefix, slot: proxy.reset_failed(prefix, slot)),
    "proxy logs": _proxy(lambda prefix, slot: proxy.logs(prefix, slot)),
    # It calls the Workload API, a resolver and a program, and holds no lock.
    "proxy check": Verb(
        Who.AGENT,
        Reason.PROXY_UNIT_FAILED,
        lambda prefix, given: proxy.check(prefix, given.get("version", "")),
        (NONE, {"version": may.VERSION}),
        deadline=13.0,
    ),
    "proxy set-current": Verb(
        Who.AGENT,
        Reason.PROXY_BINARY_UNUSABLE,
        lambda prefix, given: versions.set_current(prefix, given["version"]),
        ({"version": may.VERSION},),
    ),
    # The version of the standby's next start; without the word the current one.
    "proxy set-standby": Verb(
        Who.AGENT,
        Reason.PROXY_BINARY_UNUSABLE,
        lambda prefix, given: versions.set_standby(prefix, given.get("version", "")),
        (NONE, {"version": may.VERSION}),
    ),
    "ready record": Verb(Who.AGENT, Reason.STATE_UNWRITABLE, lambda prefix, _: membership.record_ready(prefix)),
    "phase set": Verb(
        Who.AGENT,
        Reason.PHASE_UNWRITABLE,
        lambda prefix, given: membership.set_phase(prefix, given["phase"]),
        ({"phase": may.PHASES},),
    ),
    # What the agent found and keeps, under the digest that an operator read.
    "anchors accept": Verb(
        Who.ROOT,
        Reason.TRUST_ANCHORS_UNWRITABLE,
        lambda prefix, given: anchors.accept(prefix, given["digest"]),
        ({"digest": may.DIGEST},),
    ),
    # Without an operator, where root's configuration allows it.
    "anchors follow": Verb(
        Who.AGENT,
        Reason.TRUST_ANCHORS_UNWRITABLE,
        lambda prefix, given: anchors.follow(prefix, given["digest"]),
        ({"digest": may.DIGEST},),
    ),
}
