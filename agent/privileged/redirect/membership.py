"""Root's records of this host as a member: its phase, and that it has been Ready."""

from pathlib import Path

from agent.host import Host
from agent.privileged import Answer
from agent.privileged.redirect import prepared, records
from agent.privileged.system import configuration, files


def set_phase(prefix: Path, phase: str) -> Answer:
    """A host that leaves the mesh does not count as having been Ready when it joins again. Raises Refusal."""
    with files.lock(prefix):
        if phase == "left":
            records.forget_ready(prefix)
        files.write(Host(prefix).phase, f"{phase}\n")
    return {"phase": phase}


def record_ready(prefix: Path) -> Answer:
    """This host is Ready, as the member of the mesh that root's configuration names. Raises Refusal."""
    with files.lock(prefix):
        member = configuration.member(prefix, prefix)
        if not records.left(prefix) and not records.ready_once(prefix, member):
            records.record_ready(prefix, member)
            prepared.again(prefix)
        return {"recorded": records.ready_once(prefix, member)}
