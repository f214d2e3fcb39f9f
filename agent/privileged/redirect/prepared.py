"""Leaves what the next restart of the proxy needs, after the redirect has been set and tested: scripts for nft,
and a plan of its launch.

Law: a plan holds for exactly the files that it was made from, the records of root among them: a suspension, a
trial, a phase, a host's first Ready or another configuration end it at once, and so does another version of
fairlead. What a script sets is what the tested path would set now, and was traced. Rules that depend on the
present listeners of this host (every port but …) are never prepared, nor are those of iptables. Under
`files.lock`.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from agent.config import Config
from agent.core import failure, prepared, proxy
from agent.core.facts import Level
from agent.core.prepared import Plan
from agent.core.redirect import RedirectSpec, Ruleset, nft, ruleset, selftest, wanted_rules
from agent.core.slots import Slot
from agent.host import Host
from agent.privileged import Refusal
from agent.privileged.redirect import kernel, records, specification, wanted_levels
from agent.privileged.redirect.wanted_levels import Levels
from agent.privileged.system import configuration, files, programs

if TYPE_CHECKING:
    from agent.privileged.proxy.launch import Launch

_USERS = (Path("/etc/passwd"), Path("/etc/group"))


def discard(prefix: Path) -> None:
    """Raises Refusal."""
    plan = Host(prefix).prepared / prepared.PLAN
    if plan.exists() or plan.is_symlink():
        files.remove(plan)


def renew(prefix: Path, reached: Levels) -> None:
    """After these levels have been reached. What cannot be prepared is not: then the tested path is taken."""
    if reached[0] is not Level.ON:
        return
    try:
        if not _holds(prefix):
            discard(prefix)
            _write(prefix, reached)
    except (Refusal, OSError, ValueError):
        with suppress(Refusal):
            discard(prefix)


def again(prefix: Path) -> None:
    """After a record has changed that decides the failure policy: the same levels, if something was prepared."""
    if (Host(prefix).prepared / prepared.PLAN).exists():
        with suppress(Refusal):
            renew(prefix, _on(specification.spec(records.approved(prefix))))


def _holds(prefix: Path) -> bool:
    """The plan that is there was made from the files that are there."""
    path = Host(prefix).prepared / prepared.PLAN
    if not path.exists():
        return False
    found = prepared.read(files.read(path))
    return found is not None and found.sources == dict(_sources(prefix, found.binary, found.nft))


def _write(prefix: Path, reached: Levels) -> None:
    source, held = records.approved(prefix), records.suspension(prefix)
    if (
        source == prefix
        or held is not None
        or records.left(prefix)
        or records.active_slot(prefix) is not Slot.MAIN
    ):
        return
    config = configuration.read(source)
    folder, scripts = Host(prefix).prepared, _scripts(prefix, source, config, reached)
    if scripts is None:
        return
    nft_program = programs.find("nft") or "" if scripts else ""
    for name, rules in scripts.items():
        files.write(folder / name, nft.script(rules))
    spec = specification.spec(source)
    start = _launch(prefix, spec.proxy_uid)
    failed = wanted_levels.failed(prefix, source)
    asked = configuration.read(prefix)  # as the launch and the gate
    by_svid = asked.identity.mode != "token"  # else the gate makes the proxy's key before each start
    plan = Plan(
        start.uid,
        start.binary,
        start.environment,
        dict(_sources(prefix, start.binary, nft_program)),
        nft_program,
        _places(spec),
        specification.controller(source) if spec.outward else "",
        failure.effect(failed[0], failure.to_ports(config.workload.ports)),
        asked.identity.workload_api if by_svid else "",
        asked.workload.identity,
        asked.identity.hint,
        _places(_standby(source, spec)) if prepared.STANDBY in scripts else (),
    )
    files.write(folder / prepared.PLAN, prepared.written(plan))


def _launch(prefix: Path, uid: int) -> "Launch":
    """Without a binary where it cannot be planned now: the launcher says why."""
    from agent.privileged.proxy import launch  # most requests prepare nothing

    try:
        return launch.plan(prefix)
    except (Refusal, proxy.Refused, OSError, KeyError):
        return launch.Launch("", {}, uid)


def _scripts(prefix: Path, source: Path, config: Config, reached: Levels) -> dict[str, Ruleset] | None:
    """By file; {}: rules of this kind are not prepared. None: nothing is, these levels are not final."""
    chosen = kernel.chosen(specification.backend(source))
    if chosen != "nftables" or specification.every_port(config) or config.redirect.mode == "off":
        return {}
    spec, failed = specification.approved(source), wanted_levels.failed(prefix, source)
    if reached != _on(spec):
        return None
    second = {prepared.STANDBY: _traced(_standby(source, spec), reached)} if spec.private else {}
    return second | {
        prepared.ON: _traced(spec, reached),
        prepared.WAITING: _traced(spec, (Level.ON, failed[1])),
        prepared.FAILED: _traced(specification.of_levels(source, failed), failed),
    }


def _places(spec: RedirectSpec) -> list[tuple[str, int]]:
    return [(str(address), port) for address, port in spec.arrivals]


def _standby(source: Path, spec: RedirectSpec) -> RedirectSpec:
    """With the second slot."""
    from agent.config import slotted

    return specification.named(spec, slotted.place(configuration.read(source), Slot.STANDBY))


def _on(spec: RedirectSpec) -> Levels:
    """Both directions ON, where something goes out through the proxy."""
    return Level.ON, Level.ON if spec.outward else Level.RELEASED


def _traced(spec: RedirectSpec, levels: Levels) -> Ruleset:
    """Raises ValueError: they would not do what they are for."""
    rules = ruleset(spec, *levels)
    if rules is None:
        raise ValueError("no rules make up these levels")
    problems = [*selftest.misses(spec, rules, *levels), *selftest.harms(spec, rules, selftest.Around())]
    if problems:
        raise ValueError(problems[0])
    return rules


def _sources(prefix: Path, binary: str, nft_program: str) -> Iterator[tuple[str, prepared.Identity]]:
    """Every file that decides rules, levels, environment or user, both programs, and one of this version's."""
    host = Host(prefix)
    config = configuration.read(prefix)
    from agent.config import derived

    paths = (
        *(host.configuration, host.approved.configuration),
        *(host.suspended, host.trial, host.phase, host.ready_once, host.active_slot),
        *derived.anchors_in_force(config, prefix),
        Path(derived.proxy_binary(config, str(prefix))),
        *(Path(program) for program in (binary, nft_program) if program),
        *(*_USERS, Path(wanted_rules.__file__)),
    )
    for path in dict.fromkeys(paths):
        yield str(path), files.identity(path)
