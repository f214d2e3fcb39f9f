"""Programs: one that the local configuration names, and systemctl.

They run as the agent's own user, in a process group of their own. The group is killed whole when the time is
over, and at the program's own end: a try leaves nothing behind. Who leaves the group (setsid) does so on purpose,
and lives until the agent's unit is stopped.
"""

import errno

from agent.adapters import spawn
from agent.adapters.probes.network import OURS
from agent.core.probe import Attempt, ProbeSpec

# Up, or up while it takes in a new configuration: what `systemctl is-active` says yes to.
UP = {"active", "reloading", "refreshing"}


async def run(spec: ProbeSpec) -> Attempt:
    """Exit 0 passes. A program that is not there fails: that is a fault on the application's side."""
    try:
        done = await spawn.run(spec.command, within=spec.timeout, strict=True)
    except spawn.SpawnError as error:
        return Attempt(None if error.number in OURS else False, str(error))
    return Attempt(True, "exit 0") if done.code == 0 else Attempt(False, done.explain())


async def unit(spec: ProbeSpec, systemctl: str) -> Attempt:
    """A systemd that is absent or does not answer is no verdict on the unit."""
    command = [systemctl, "show", "--property=LoadState,ActiveState,SubState", "--", spec.unit]
    try:
        done = await spawn.run(command, within=spec.timeout)
    except spawn.SpawnError as error:
        absent = error.number == errno.ENOENT
        return Attempt(None, "there is no systemd on this host" if absent else f"cannot ask systemd: {error}")
    properties = dict(line.partition("=")[::2] for line in done.output.decode(errors="replace").splitlines())
    if done.code != 0 or "ActiveState" not in properties:
        return Attempt(None, f"cannot ask systemd: {done.explain()}")
    if properties.get("LoadState") == "not-found":
        return Attempt(False, f"there is no unit {spec.unit}")
    state = properties["ActiveState"]
    return Attempt(state in UP, f"{spec.unit} is {state} ({properties.get('SubState', '?')})")
