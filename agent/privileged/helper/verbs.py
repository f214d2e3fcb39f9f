"""From a request to what does it."""

from pathlib import Path

from agent.core.facts import Level
from agent.privileged.helper.request import Request
from agent.privileged.proxy import anchors, versions
from agent.privileged.redirect import counters, firewalled, greetings, handlers, records, specification
from agent.privileged.redirect.handlers import Answer
from agent.privileged.system import files
from agent.privileged.units import probe, proxy


def carry_out(prefix: Path, request: Request) -> Answer:
    """Raises Refusal."""
    words = request.words
    match request.verb:
        case "redirect check":
            return handlers.check(prefix)
        case "redirect counters":
            return {"rules": counters.read(prefix)}
        case "redirect apply" if "confirm" in words:
            force = "force" in words
            return handlers.apply_configured(prefix, words["confirm"], request.session, force=force)
        case "redirect apply":
            return handlers.apply(prefix, Level(words["inbound"]), Level(words["outbound"]))
        case "redirect adopt-guide":
            return handlers.adopt_guide(prefix, request.session)
        case "redirect block":
            return handlers.one_way(prefix, words["direction"], Level.BLOCK)
        case "redirect release":
            return handlers.one_way(prefix, words["direction"], Level.RELEASED)
        case "redirect revert":
            return handlers.revert(prefix, due="due" in words)
        case "redirect remove":
            return handlers.remove(prefix, now="now" in words)
        case "probe run":
            return probe.run(prefix, words["probe"])
        case "probe stop":
            return probe.stop(prefix, words["probe"])
        case "ready record":
            return record_ready(prefix)
        case "phase set":
            return set_phase(prefix, words["phase"])
        case "proxy set-current":
            return versions.set_current(prefix, words["version"])
        case "proxy check":
            return proxy.check(prefix, words.get("version", ""))
        case "anchors accept":
            return anchors.accept(prefix, words["digest"])
    return _PLAIN[request.verb](prefix)


_PLAIN = {
    "redirect accept-greetings": greetings.accept,
    "redirect arm": handlers.arm,
    "redirect firewall": firewalled.judge,
    "redirect failed": handlers.failed,
    "redirect restore": handlers.restore,
    "redirect confirm": handlers.confirm,
    "proxy start": proxy.start,
    "proxy stop": proxy.stop,
    "proxy term": proxy.term,
    "proxy kill": proxy.kill,
    "proxy reset-failed": proxy.reset_failed,
    "proxy logs": proxy.logs,
}


def set_phase(prefix: Path, phase: str) -> Answer:
    """A host that leaves the mesh is not one that has been Ready when it joins again."""
    with files.lock(prefix):
        if phase == "left":
            records.forget_ready(prefix)
        files.write(prefix / "var/lib/fairlead/phase", f"{phase}\n")
    return {"phase": phase}


def record_ready(prefix: Path) -> Answer:
    """This host is Ready, as the member of the mesh that root's configuration names."""
    with files.lock(prefix):
        member = specification.member(prefix, prefix)
        if not records.left(prefix) and not records.ready_once(prefix, member):
            records.record_ready(prefix, member)
        return {"recorded": records.ready_once(prefix, member)}
