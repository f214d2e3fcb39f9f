"""The proxy's unit of each slot, by systemctl and journalctl with closed arguments. Nothing here waits for a job
to end."""

import subprocess
from functools import partial
from pathlib import Path
from typing import Final

from agent.core import prepared
from agent.host import Host
from agent.privileged import Answer, Refusal
from agent.privileged.system import files, programs

UNITS: Final = {"main": "fairlead-proxy.service", "standby": "fairlead-proxy-standby.service"}
UNIT: Final = UNITS["main"]

_LINES: Final = "50"
_MOST: Final = 4096  # characters of what a preflight says
_PREFLIGHT: Final = ("/usr/lib/fairlead/bin/python", "-IS", "-m", "agent.offline.preflight")
_SANDBOX: Final = (
    "RuntimeMaxSec=12",
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "RestrictSUIDSGID=yes",
    "UMask=0077",
    "LimitCORE=0",
)
# A unit cannot read a configuration, so this drop-in sets its TimeoutStopSec.
_DROP_IN: Final = "run/systemd/system/{}.d/50-grace.conf"
_BEYOND_GRACE: Final = 10  # seconds


def start(prefix: Path, slot: str) -> Answer:
    from agent.privileged.redirect import handlers  # as below: most verbs of the unit need neither rules nor file

    programs.there(partial(handlers.guard, prefix))  # a kernel without firewall has nothing to guard by
    addresses(prefix, slot)
    _note_stop(prefix, slot, asked=False)
    _bring_grace(prefix, UNITS[slot])
    return _enqueue("start", UNITS[slot])


def stop(prefix: Path, slot: str) -> Answer:
    _bring_grace(prefix, UNITS[slot])
    _note_stop(prefix, slot, asked=True)
    return _enqueue("stop", UNITS[slot])


def _note_stop(prefix: Path, slot: str, *, asked: bool) -> None:
    """systemd does not tell the unit's programs whether the end of a proxy was asked for. Of the first slot alone:
    crashes of the other are not counted."""
    note = Host(prefix).prepared / prepared.ASKED
    if slot != "main" or note.exists() is asked:
        return
    with files.lock(prefix):
        files.write(note, "") if asked else files.remove(note)


def term(prefix: Path, slot: str) -> Answer:
    """SIGTERM to the process, which systemd replaces."""
    return _signal("SIGTERM", UNITS[slot])


def kill(prefix: Path, slot: str) -> Answer:
    return _signal("SIGKILL", UNITS[slot])


def reset_failed(prefix: Path, slot: str) -> Answer:
    _must("reset the proxy's unit", "systemctl", "reset-failed", UNITS[slot])
    return {}


def check(prefix: Path, version: str) -> Answer:
    """What the preflight says of the next start, as the proxy's user and in a sandbox. Only the host at / has this
    unit."""
    from agent.privileged.redirect import specification

    uid = specification.spec(prefix).proxy_uid
    command = [*_PREFLIGHT, str(prefix), *([version] if version else [])]
    properties = [f"--property={one}" for one in (*_SANDBOX, f"User={uid}")]
    done = _run("systemd-run", "--quiet", "--wait", "--pipe", "--collect", *properties, "--", *command)
    lines = done.stderr.strip().splitlines() or [f"the preflight ended with {done.returncode}"]
    return {"said": done.stdout[:_MOST], "ended": lines[-1][:_MOST]}


def logs(prefix: Path, slot: str) -> Answer:
    """The last lines, those of launcher and gate among them. Not --boot: in a container, the boot id that a unit
    with ProtectKernelTunables sees is not that of the journal."""
    words = ("--quiet", "--no-pager", f"--unit={UNITS[slot]}", f"--lines={_LINES}", "--output=short-iso")
    output = _must("read the proxy's log", "journalctl", *words)
    return {"lines": output.splitlines()}


def _enqueue(verb: str, unit: str) -> Answer:
    _must(f"{verb} the proxy's unit", "systemctl", "--no-block", verb, unit)
    return {}


def _signal(name: str, unit: str) -> Answer:
    """To the proxy alone, not to a start that waits. Where none runs there is nothing to do."""
    output = _must("look at the proxy's unit", "systemctl", "show", "--property=MainPID", "--value", unit)
    if (pid := output.strip()) != "0" and not _is_starting(pid):
        _run("systemctl", "kill", "--kill-who=main", f"--signal={name}", unit)
    return {}


def _is_starting(pid: str) -> bool:
    try:
        return prepared.is_starting(Path("/proc", pid, "comm").read_bytes().decode(errors="replace"))
    except OSError:
        return False


def addresses(prefix: Path, slot: str) -> Answer:
    """Those of the slots, before a proxy listens there. Raises Refusal: this host has one slot."""
    from agent.config import derived, slotted
    from agent.core.slots import Slot, places
    from agent.privileged.system import configuration, loopback

    config = configuration.read(prefix)
    place = derived.slot_in_force(config, prefix, Slot(slot))
    if place is not None:
        with files.lock(prefix):
            loopback.add(prefix, [one.address for one in places(place.network).values()], place.network)
    elif slot != "main":
        raise Refusal(f"cannot start a second proxy: {slotted.why_one_slot(config)}")
    return {}


def _bring_grace(prefix: Path, unit: str) -> None:
    from agent.privileged.system import configuration

    seconds = configuration.read(prefix).proxy.grace + _BEYOND_GRACE
    path, text = prefix / _DROP_IN.format(unit), f"[Service]\nTimeoutStopSec={seconds}\n"
    with files.lock(prefix):
        if path.exists() and files.read(path) == text:
            return
        files.write(path, text)
        _must("make systemd read its units again", "systemctl", "daemon-reload")


def _must(doing: str, program: str, *arguments: str) -> str:
    done = _run(program, *arguments)
    if done.returncode != 0:
        cause = done.stderr.strip().splitlines() or [f"{program} exited {done.returncode}"]
        raise Refusal(f"cannot {doing}: {cause[0]}")
    return done.stdout


def _run(program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    path = programs.find(program)
    if path is None:
        raise Refusal(f"cannot run {program}: there is no systemd on this host")
    return programs.run(path, *arguments)
