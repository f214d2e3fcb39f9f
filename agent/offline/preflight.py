"""Checks the proxy's next start while the running proxy still serves, as the proxy's own user.

    python -IS -m agent.offline.preflight PREFIX [VERSION]

Configuration and environment, the binary (of VERSION, where it is named), the ports, the identity that this user
gets and whether the trust anchors cover it, and the names of the control plane. Changes nothing. Prints one line
of JSON: {"ok": true}, or the first fault as the gate records one (`core.gate`). Exit code: 0 judged; 64 usage.
"""

import asyncio
import contextlib
import os
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from agent.adapters import proxy_reading, spawn
from agent.core import gate_record as core_gate
from agent.core import proxy, proxy_sockets
from agent.core.proxy import ProxySettings
from agent.core.reasons import Fault, Reason
from agent.host import secrecy
from agent.offline import gate, identity
from agent.offline.versions import REFUSES
from agent.privileged import Refusal
from agent.privileged.proxy import launch

USAGE = 64
TRY_WITHIN = 5.0  # seconds for the binary to refuse an empty environment
NAMES_WITHIN = 3.0  # seconds for all names of the control plane


def main(arguments: Sequence[str]) -> int:
    match arguments:
        case [prefix]:
            version = ""
        case [prefix, version]:
            pass
        case _:
            print("usage: python -m agent.offline.preflight PREFIX [VERSION]", file=sys.stderr)
            return USAGE
    fault = asyncio.run(first_fault(Path(prefix), version))
    print(core_gate.proved(fault), end="", flush=True)
    return 0


async def first_fault(prefix: Path, version: str) -> Fault | None:
    """None: no known fault prevents it."""
    plan = _planned(prefix, version)
    if isinstance(plan, Fault):
        return plan
    try:
        settings = launch.settings(prefix, version)
        wanted = gate.gate_of(str(prefix))
    except (Refusal, identity.Unconfigured) as error:
        reason = getattr(error, "reason", None)
        return Fault(reason or Reason.PROXY_CONFIGURATION_REFUSED, str(error))
    faults = await asyncio.gather(_binary(plan.binary), _identity(wanted), resolve_names(settings))
    return next((fault for fault in (faults[0], _ports(settings), *faults[1:]) if fault is not None), None)


async def binary(prefix: Path, version: str = "") -> Fault | None:
    """Of the binary and its configuration alone."""
    plan = _planned(prefix, version)
    return plan if isinstance(plan, Fault) else await _binary(plan.binary)


def _planned(prefix: Path, version: str) -> launch.Launch | Fault:
    try:
        return launch.plan(prefix, version)
    except Refusal as error:
        return Fault(error.reason or Reason.PROXY_CONFIGURATION_REFUSED, str(error))
    except proxy.Refused as refused:
        return refused.fault
    except KeyError:
        return Fault(Reason.PROXY_CONFIGURATION_REFUSED, "proxy.user is not a user of this host")
    except OSError as error:
        return Fault(Reason.PROXY_CONFIGURATION_REFUSED, f"{error.filename}: {error.strerror}")


async def _binary(path: str) -> Fault | None:
    """One that starts, and refuses an empty environment as linkerd2-proxy does."""
    try:
        done = await spawn.run([path], within=TRY_WITHIN, environment={})
    except spawn.SpawnError as error:
        return Fault(Reason.PROXY_BINARY_UNUSABLE, str(error))
    return None if done.code == REFUSES else Fault(Reason.PROXY_BINARY_UNUSABLE, done.explain())


def _ports(settings: ProxySettings) -> Fault | None:
    return proxy_sockets.taken(settings, proxy_reading.listeners(), os.geteuid())


async def _identity(wanted: gate.Gate) -> Fault | None:
    fault = await gate.look(wanted)
    return None if fault is None else core_gate.awaited(fault)


Resolve = Callable[[str, int], Awaitable[object]]


async def _resolved(host: str, port: int) -> object:
    """In a thread that is not joined: a resolver that does not answer would delay the end of this program."""
    loop, answer = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()

    def settle(error: OSError | None) -> None:
        if not answer.done():
            answer.set_result(None) if error is None else answer.set_exception(error)

    def ask() -> None:
        error = None
        try:
            socket.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM)
        except OSError as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=ask, daemon=True).start()
    return await answer


async def resolve_names(settings: ProxySettings, resolve: Resolve = _resolved) -> Fault | None:
    """As this host's resolver knows them; an address needs none."""
    asked = {host: port for host, port in proxy.services(settings) if not proxy.is_address(host)}
    faults = await asyncio.gather(*(_name(host, port, resolve) for host, port in asked.items()))
    return next((fault for fault in faults if fault is not None), None)


async def _name(host: str, port: int, resolve: Resolve) -> Fault | None:
    try:
        async with asyncio.timeout(NAMES_WITHIN):
            await resolve(host, port)
    except TimeoutError:
        cause = f"no answer within {NAMES_WITHIN:g} s"
    except OSError as error:
        cause = error.strerror or str(error)
    else:
        return None
    return Fault(Reason.CONTROL_PLANE_UNRESOLVED, f"{host}: {cause}")


if __name__ == "__main__":
    secrecy.no_core_files()  # the Workload API gives it the proxy's key
    sys.exit(main(sys.argv[1:]))
