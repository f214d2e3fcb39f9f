"""Fault scenarios of the local application, as its probes see them."""

import asyncio
import os
import sys
from pathlib import Path

from agent.core.reasons import Reason
from agent.sandbox.stage import network
from agent.sandbox.stage.scene import PORT, Scene
from agent.sandbox.stage.tour import is_ready, until
from tests.host.scenario import calm, descriptors, named, no_more_descriptors, scenario, serves, started


@scenario()
async def application_on_loopback_only(scene: Scene) -> None:
    """It answers clients on the host, and no peer: the probe must fail, and the reason says why."""
    local = await scene.on_host(sys.executable, "-m", "agent.sandbox.stage.app", f"127.0.0.1:{PORT}")
    await scene.start_agent()
    await named(scene, Reason.PROBE_FAILING)
    _, text = await scene.cli("status")
    assert "loopback alone does not count" in text
    local.terminate()
    await local.wait()
    await scene.start_app()
    await serves(scene)


PUSH = '[[probe]]\nname = "beat"\nkind = "push"\nttl = 30\n'


@scenario(extra=PUSH)
async def an_application_stops_pushing(scene: Scene) -> None:
    await started(scene)
    await until(scene, lambda s: s["facts"]["agent"] != "unknown", "READY=1")
    assert scene.ready()[0] != "True", "no push, no word"
    code, text = await scene.cli("probe", "push", "beat", "--ttl", "31s")
    assert code == 1 and "at most 30 s" in text
    await _push(scene, "30s")
    await serves(scene)
    await _push(scene, "1s")
    await until(scene, lambda s: s["ready"]["status"] == "False", "Ready=False")
    await named(scene, Reason.PROBE_FAILING)
    await _push(scene, "30s")
    await serves(scene)


async def _push(scene: Scene, ttl: str) -> None:
    code, text = await scene.cli("probe", "push", "beat", "--ttl", ttl)
    assert code == 0, text


# It ignores signals, with children and orphans, flooding both outputs; all of them hold the pipe `held` open.
DEAF = "exec 9>{held}; trap '' TERM INT HUP; yes & (yes >&2 & sleep 99 &); while :; do sleep 1; done"


@scenario()
async def a_program_as_probe_runs_wild(scene: Scene) -> None:
    """Each try ends in time and leaves nothing behind; the agent does not spin; once the probe passes, the host
    serves."""
    held, program = scene.base / "held", scene.base / "probe.sh"
    os.mkfifo(held)
    listening = os.open(held, os.O_RDONLY | os.O_NONBLOCK)
    program.write_text(f"#!/bin/sh\n{DEAF.format(held=held)}\n")
    program.chmod(0o755)
    file = scene.prefix / "etc/fairlead/fairlead.toml"
    wild = f'[[probe]]\nname = "wild"\nkind = "exec"\ncommand = ["{program}"]\nperiod = 1\ntimeout = 0.4\n'
    file.write_text(file.read_text() + wild)
    await started(scene)
    await named(scene, Reason.PROBE_FAILING)
    before = descriptors(scene)
    await asyncio.sleep(3)
    await no_more_descriptors(scene, before, 5)
    _replace(program, "#!/bin/sh\nexit 0\n")
    await serves(scene)
    await calm(scene)
    assert os.read(listening, 1) == b"", "a process of an earlier try is alive"
    os.close(listening)


def _replace(program: Path, text: str) -> None:
    """At once: a file that is open for writing cannot be started."""
    fresh = program.with_suffix(".new")
    fresh.write_text(text)
    fresh.chmod(0o755)
    fresh.replace(program)


SLOW_START = f'''[[probe]]
name = "started"
kind = "tcp"
host = "{network.HOST}"
port = 9999
period = 1
startup = true
'''


@scenario(extra=SLOW_START)
async def an_application_that_takes_long_to_start(scene: Scene) -> None:
    """The probe that would pass is held back until the startup probe has passed; the condition does not flap
    afterwards."""
    await started(scene)
    status = await until(scene, lambda s: any(p["reason"] == "ProbeFailing" for p in s["problems"]), "a verdict")
    assert [(p["name"], p["passing"]) for p in status["facts"]["probes"]["probes"]] == [
        ("app", "unknown"),
        ("started", False),
    ]
    second = await scene.on_host(sys.executable, "-m", "agent.sandbox.stage.app", f"{network.HOST}:9999")
    await serves(scene)
    second.terminate()
    await second.wait()
    await asyncio.sleep(3)
    assert is_ready(await scene.status()), "a startup probe that has passed is over"
