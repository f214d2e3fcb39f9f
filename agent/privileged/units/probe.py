"""Exec probes that root wrote as units: started, and ended at their timeout. The unit alone decides what runs, and
as which user.

Starting only queues a job in systemd; the caller learns from systemd how it ends.
"""

import json
import subprocess
from pathlib import Path
from typing import Final

from agent import config
from agent.core.probe import exec_unit
from agent.host import Host
from agent.privileged import Answer, Refusal
from agent.privileged.system import files, programs

_MANAGER: Final = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")


def run(prefix: Path, name: str) -> Answer:
    """The answer names the job. Raises Refusal."""
    unit = _unit(prefix, name)
    # A probe may start often: systemd's start limit (5 in 10 s) would look like failures.
    _call("reset", "ResetFailedUnit", "s", unit, but="not loaded")
    job = _call("start", "StartUnit", "ss", unit, "replace")
    return {"job": json.loads(job)["data"][0]}


def stop(prefix: Path, name: str) -> Answer:
    """Every process in the unit is killed, and none starts again. Raises Refusal."""
    unit = _unit(prefix, name)
    _call("kill", "KillUnit", "ssi", unit, "all", "9", but="No process to kill")
    _call("stop", "StopUnit", "ss", unit, "replace")
    return {}


def _unit(prefix: Path, name: str) -> str:
    """Root's own configuration says which probes are units. Raises Refusal."""
    path = Host(prefix).configuration
    try:
        probes = config.parse(files.read(path)).probes
    except config.ConfigError as error:
        raise Refusal(f"cannot use {path}: {error}") from None
    unit = exec_unit(name)
    if not any((probe.kind, probe.name, probe.unit) == ("exec", name, unit) for probe in probes):
        raise Refusal(f"cannot run {unit}: {path} has no exec probe {name!r} with this unit")
    return unit


def _call(verb: str, method: str, signature: str, *words: str, but: str = "\0") -> str:
    """One call to systemd; `but`: an error that counts as success. Raises Refusal."""
    program = programs.find("busctl")
    if program is None:
        raise Refusal(f"cannot {verb} {words[0]}: there is no systemd on this host")
    done: subprocess.CompletedProcess[str] = programs.run(
        program, "--system", "--json=short", "call", *_MANAGER, method, signature, *words
    )
    if done.returncode != 0 and but not in done.stderr:
        raise Refusal(f"cannot {verb} {words[0]}: {done.stderr.strip() or 'systemd gave no reason'}")
    return done.stdout
