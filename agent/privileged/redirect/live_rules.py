"""The live rules, by the backend in use, including those on trial.

Law: all code of the privileged helper that reads or sets rules uses this module.
"""

import json
from pathlib import Path

from agent.core import slots
from agent.core.facts import Level
from agent.core.late import replace as changed
from agent.core.redirect import Action, Address, Network, Ruleset, timed
from agent.core.redirect import levels as levels_of
from agent.core.redirect.timed import Live, Trial
from agent.privileged import Refusal
from agent.privileged.redirect import kernel, records, specification, trial
from agent.privileged.redirect.backends import nftables
from agent.privileged.system import loopback, programs

_NFT = "nftables"


def read(prefix: Path) -> Live:
    """By the backend of the configuration in force: the one on trial, else the last approved. Raises Refusal."""
    held = records.suspension(prefix)
    if held is not None and held.cause is records.Cause.UNCONFIRMED:
        live = _tried(prefix)
        if live.on_trial:
            return live
    return by(records.approved(prefix))


def _tried(prefix: Path) -> Live:
    """A trial whose rules are gone has ended, with a timer or without."""
    live, timer = by(records.tried(prefix)), trial.record(prefix)
    if timer is None or live.rules is None:
        return live
    return Live(live.rules, Trial(live.rules, timer.before, timer.left))


def source(prefix: Path, live: Live) -> Path:
    """The prefix of the configuration in force: the one on trial, or the last approved; the host's own before the
    first."""
    return records.tried(prefix) if live.on_trial else records.approved(prefix)


def levels(source: Path, found: Live) -> tuple[Level, Level]:
    """For the configuration below `source`; also where a port is left out of what is closed. Raises Refusal."""
    rules = found.rules
    if rules is None:
        return Level.OFF, Level.OFF
    held = levels_of(specification.spec(source), rules)
    if Level.PARTIAL not in held:
        return held
    try:
        less = levels_of(specification.closing(source), rules)
    except Refusal:
        return held
    inbound, outbound = (b if (a, b) == _CLOSED else a for a, b in zip(held, less, strict=True))
    return inbound, outbound


_CLOSED = (Level.PARTIAL, Level.BLOCK)


def by(source: Path) -> Live:
    """By the backend of the configuration below `source`. Raises Refusal."""
    backend = specification.backend(source)
    name = kernel.chosen(backend)
    if name != _NFT:
        return Live(kernel.read(backend))
    listing = nftables.own_table()
    live = Live(None) if listing is None else timed.read(listing)
    return changed(live, rules=_with_addresses(kernel.with_leftovers(name, live.rules)))


def _with_addresses(rules: Ruleset | None) -> Ruleset | None:
    """They are none of ours without the addresses that they translate to."""
    found = [address for network in _networks_of_slots(rules) for address in loopback.absent(_addresses(network))]
    if rules is None or not found:
        return rules
    return changed(rules, foreign=(*rules.foreign, *(f"lo has lost {address}" for address in found)))


def replace(source: Path, rules: Ruleset | None) -> None:
    """By the backend of the configuration below `source`. Raises Refusal; then nothing changed."""
    prefix = records.host(source)
    needed = _open_slots(prefix, rules)
    kernel.replace(rules, specification.backend(source))
    loopback.remove(prefix, needed)


def _open_slots(prefix: Path, rules: Ruleset | None) -> frozenset[Address]:
    """What rules translate to is there before them; the addresses."""
    opened: set[Address] = set()
    for network in _networks_of_slots(rules):
        addresses = _addresses(network)
        loopback.add(prefix, addresses, network)
        opened.update(addresses)
    return frozenset(opened)


def _networks_of_slots(rules: Ruleset | None) -> list[Network]:
    every = [rule for chain in (rules.chains if rules else ()) for rule in chain.rules]
    return [network for rule in every if rule.action is Action.DROP for network in rule.match.networks]


def _addresses(network: Network) -> list[Address]:
    return [place.address for place in slots.places(network).values()]


def put_on_trial(prefix: Path, new: Ruleset, before: Ruleset, seconds: int) -> None:
    """The new rules of the configuration on trial for so long, then the previous ones, without an operator. Raises
    Refusal; nothing changed."""
    _open_slots(prefix, new)
    backend = specification.backend(records.tried(prefix))
    name = kernel.chosen(backend)
    if name != _NFT:
        trial.begin(prefix, before, seconds)
        kernel.replace(new, backend)
        return
    trial.end(prefix)
    kernel.remove_leftovers(name)
    _set_timed(new, before, seconds)


def carry_on(prefix: Path, live: Live, new: Ruleset, before: Ruleset) -> None:
    """Other rules for the trial that goes on, until it expires. Raises Refusal; nothing changed."""
    assert live.trial is not None and live.trial.left is not None
    backend = specification.backend(records.tried(prefix))
    if kernel.chosen(backend) == _NFT:
        _set_timed(new, before, max(1, live.trial.left))
        return
    kernel.replace(new, backend)
    trial.amend(prefix, before)


def _set_timed(new: Ruleset, before: Ruleset, seconds: int) -> None:
    done = nftables.run("-f", "-", input=json.dumps(timed.transaction(new, before, seconds)))
    if done.returncode != 0:
        raise nftables.refusal(programs.SET, done.stderr)
