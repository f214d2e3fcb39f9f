"""What each verb does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from agent.core.facts import Level
from agent.core.redirect import RedirectSpec, levels, ruleset, settle
from agent.privileged import files, kernel, policy
from agent.privileged.request import Request

Answer = Mapping[str, str]

# Letting go needs no policy, so it works where the configuration is broken: these rules are the same for all.
_NOTHING: Final = RedirectSpec(proxy_uid=65534)
_LET_GO: Final = frozenset({Level.OFF, Level.RELEASED})


def carry_out(prefix: Path, request: Request) -> Answer:
    """Raises Refusal."""
    words = request.words
    match request.verb:
        case "redirect check":
            return check(prefix)
        case "redirect apply":
            return apply(prefix, Level(words["inbound"]), Level(words["outbound"]))
        case "redirect remove":
            return apply(prefix, Level.OFF, Level.OFF)
        case "phase set":
            return set_phase(prefix, words["phase"])
    raise AssertionError(request.verb)


def check(prefix: Path) -> Answer:
    live = kernel.read()
    return _levels(levels(policy.spec(prefix) if live else _NOTHING, live))


def apply(prefix: Path, inbound: Level, outbound: Level) -> Answer:
    """Bring the kernel to these levels, and say what it holds afterwards."""
    wanted = settle(inbound, outbound)
    with files.lock(prefix):
        before = kernel.read()
        spec = _NOTHING if set(wanted) <= _LET_GO else policy.approved(prefix)
        if levels(spec, before) == wanted:
            return _levels(wanted)
        if wanted == (Level.OFF, Level.OFF):
            kernel.replace(ruleset(spec, Level.RELEASED, Level.RELEASED))
        kernel.replace(ruleset(spec, *wanted))
        return _levels(levels(spec, kernel.read()))


def set_phase(prefix: Path, phase: str) -> Answer:
    with files.lock(prefix):
        files.write(prefix / "var/lib/fairlead/phase", f"{phase}\n")
    return {"phase": phase}


def _levels(found: tuple[Level, Level]) -> Answer:
    inbound, outbound = found
    return {"inbound": inbound.value, "outbound": outbound.value}
