"""The interactive sandbox: a prompt, events as they happen, and what to type next."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from agent.sandbox.stage import network, terminal
from agent.sandbox.stage.background import background
from agent.sandbox.stage.client import ask
from agent.sandbox.stage.scene import PORT, Scene
from agent.sandbox.stage.tour import URL, Step, Tour, take

HELP = """\
  Enter          the next step of the tour
  status         what the agent knows, and why
  stop app       stop the application         start app      start it again
  kill agent     kill -9 the agent            start agent    start it again
  ask            a request from the cluster   rotate         replace every SVID now
  leave, join    out of the mesh, and back    log            the end of the agent's log
  rules          the rules on the host        shell          a shell on the host
  help           this                         quit           end; nothing is left"""


class Visit:
    def __init__(self, scene: Scene, tour: Tour) -> None:
        self._scene, self._steps = scene, tour.steps()
        self._next = 0
        self._verbs: dict[str, Callable[[], Awaitable[None]]] = {
            "": self._step,
            "status": self._status,
            "stop app": scene.stop_app,
            "start app": scene.start_app,
            "kill agent": scene.kill_agent,
            "start agent": scene.start_agent,
            "ask": self._ask,
            "rotate": self._rotate,
            "leave": lambda: self._cli("leave"),
            "join": lambda: self._cli("join"),
            "log": self._log,
            "rules": self._rules,
            "shell": self._shell,
            "help": self._help,
        }

    async def run(self) -> int:
        print(f"A host at {network.HOST}, its application on port {PORT}, and a cluster with a client and a pod.")
        print("The agent's headline is shown as it changes, behind a bar.\n")
        await self._help()
        async with background(self._tell()):
            while True:
                line = await self._prompt()
                if line is None or line in ("quit", "exit", "q"):
                    return 0
                await self._do(line)

    async def _do(self, line: str) -> None:
        verb = self._verbs.get(line)
        if verb is None:
            print(f"  {line!r} is not a command; help lists the commands", flush=True)
            return
        try:
            await verb()
        except aiohttp.ClientError as error:
            print(f"  {error}", flush=True)

    async def _prompt(self) -> str | None:
        """One line; None at the end of the input."""
        step = self._steps[self._next] if self._next < len(self._steps) else None
        hint = f"Enter: {step.does}" if step else "the tour is over; try any command, or quit"
        print(f"\n[{hint}]", flush=True)
        line = await _read_line()
        return None if line == "" else line.strip().lower()

    async def _tell(self) -> None:
        """Print the agent's headline each time that it changes."""
        said, version = "", None
        while True:
            try:
                status = await self._scene.status(version)
                headline, version = status["headline"], status["version"]
            except (aiohttp.ClientError, FileNotFoundError):
                headline, version = "(no agent)", None
                await asyncio.sleep(0.2)
            if headline != said:
                said = headline
                print(f"  │ {headline}", flush=True)

    # verbs --------------------------------------------------------------------------------------

    async def _step(self) -> None:
        if self._next < len(self._steps):
            step: Step = self._steps[self._next]
            print(f"  {step.name}: {step.does}" + (f"   (on a host: {step.command})" if step.command else ""))
            await take(self._scene, step)
            self._next += 1

    async def _status(self) -> None:
        await self._cli("status")

    async def _cli(self, verb: str) -> None:
        _, output = await self._scene.cli(verb)
        print("".join(f"  {line}\n" for line in output.splitlines()), end="", flush=True)

    async def _ask(self) -> None:
        answer: dict[str, Any] = await ask(URL)
        through = "through the proxy" if answer["from"] == network.HOST else "directly"
        print(f"  the application answered; the request came {through} (from {answer['from']})", flush=True)

    async def _rotate(self) -> None:
        self._scene.workload_api.rotate()

    async def _log(self) -> None:
        print("".join(f"  {line}\n" for line in self._scene.last_words(20)), end="", flush=True)

    async def _rules(self) -> None:
        print(await self._scene.read_on_host("nft", "list", "ruleset"), flush=True)

    async def _shell(self) -> None:
        print("  a shell on the host; exit brings you back", flush=True)
        with terminal.kept():
            shell = await asyncio.create_subprocess_exec(
                *network.ON_HOST, os.environ.get("SHELL", "/bin/sh"), env={**os.environ}
            )
            await shell.wait()

    async def _help(self) -> None:
        print(HELP, flush=True)


async def _read_line() -> str:
    """One line of standard input with its end, "" at the end of input; the event loop keeps running."""
    if terminal.is_file():
        return sys.stdin.readline()
    loop, there = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sys.stdin, there.set)
    try:
        await there.wait()
        return sys.stdin.readline()
    finally:
        loop.remove_reader(sys.stdin)
