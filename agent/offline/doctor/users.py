"""The users of the agent and the proxy, and questions that only their own processes can ask.

    python -m agent.offline.doctor.users PREFIX QUESTION UID GID

Started by root, it becomes that user before it asks. Prints the answer as one line of JSON. Exit code: 0 answered;
64 usage.
"""

import asyncio
import concurrent.futures.thread  # noqa: F401 - as below: asyncio imports it with its first thread
import encodings.idna
import encodings.utf_8_sig  # noqa: F401 - a codec is imported at its first use, which may be after `become`
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from agent import host
from agent.adapters import long_hello, server_clock, spawn
from agent.adapters.control_plane import HostControlPlane
from agent.adapters.helper import Helper
from agent.config import Config, derived
from agent.core import proxy as proxy_settings
from agent.core import text_files
from agent.core.doctor import network
from agent.core.reasons import Reason
from agent.host import Host, reading, secrecy
from agent.loops.checks import NotHere, Unread
from agent.offline import credential, gate, identity, preflight
from agent.offline.doctor import api_reading
from agent.offline.doctor.plain_faults import plain
from agent.ports import Trouble

USAGE: Final = 64
_LONGEST: Final = 30.0  # seconds; the caller's limit is shorter
Question = Callable[[str], Coroutine[Any, Any, Any]]


@dataclass(frozen=True)
class User:
    name: str
    uid: int
    gid: int


def agent(config: Config) -> User:
    """Without a user of its own, the one that is asking."""
    uid = host.agent_uid()
    if uid is None:
        return User(f"uid {os.geteuid()}", os.geteuid(), os.getegid())
    return User(host.AGENT, *derived.owner(host.AGENT))


def proxy(config: Config) -> User:
    """Raises NotHere."""
    try:
        return User(config.proxy.user, *derived.proxy_owner(config))
    except KeyError:
        raise NotHere(f"there is no user {config.proxy.user}") from None


async def ask(prefix: str, user: User, question: str) -> Any:
    """As that user: in this process where it is that user's, else root starts one. Raises NotHere, Unread."""
    if user.uid == os.geteuid():
        return await QUESTIONS[question](prefix)
    if os.geteuid() != 0:
        raise NotHere(f"needs root, which asks as {user.name}")
    words = (str(Host.below(prefix).prefix), question, str(user.uid), str(user.gid))
    try:
        done = await spawn.run((*_python(), "-m", "agent.offline.doctor.users", *words), within=_LONGEST)
    except spawn.SpawnError as error:
        raise Unread(str(error)) from None
    if done.code != 0:
        raise Unread(done.explain())
    return json.loads(done.output)


def _python() -> Sequence[str]:
    """As this process was started: the package's interpreter takes nothing of the host's Python."""
    given = (("-I", sys.flags.isolated), ("-S", sys.flags.no_site), ("-P", sys.flags.safe_path))
    return [sys.executable, *(word for word, flag in given if flag)]


# the questions -------------------------------------------------------------------------------------


async def _proxy_identity(prefix: str) -> Any:
    return plain(await gate.look(gate.gate_of(prefix)))


async def _agent_identity(prefix: str) -> Any:
    """The same SPIFFE ID; that its anchors cover it is asked of the proxy's SVID."""
    config = identity.configuration(prefix)
    wanted = replace(gate.gate_of(prefix), places=None)
    return plain(await gate.look(wanted)) if config.identity.mode == "spiffe" else None


async def _helper(prefix: str) -> Any:
    """As the agent asks it; this verb reads only."""
    try:
        asked = Helper(str(Host.below(prefix).prefix))
        await asked.ask_within(_LONGEST, "redirect counters", Reason.REDIRECT_FAILED, {})
    except Trouble as trouble:
        return plain(trouble.fault)
    return None


async def _proxy_binary(prefix: str) -> Any:
    return plain(await preflight.binary(Host.below(prefix).prefix))


async def _control_plane(prefix: str) -> Any:
    """As the proxy's user, whose connections are never redirected."""
    config = identity.configuration(prefix)
    anchors = derived.anchors_in_force(config, Host.below(prefix).prefix)
    places = controllers(config, prefix).values()
    looks = [HostControlPlane(place, place, name, anchors).look(dial=True) for place, name in places]
    return [plain(one.policy) for one in await asyncio.gather(*looks)]


def controllers(config: Config, prefix: str) -> Mapping[str, tuple[str, str]]:
    """Of each that the proxy asks: HOST:PORT, and what it proves to be."""
    settings = derived.proxy_settings(config, prefix)
    policy, destination, name = proxy_settings.controllers(settings)
    found = {"policy": (policy, name), "destination": (destination, name)}
    if config.identity.mode == "token":
        found[network.IDENTITY] = proxy_settings.identity_controller(settings)
    return found


async def _path_mtu(prefix: str) -> Any:
    policy, _, _ = proxy_settings.controllers(derived.proxy_settings(identity.configuration(prefix), prefix))
    host, _, port = policy.rpartition(":")
    return asdict(await long_hello.ask(host.strip("[]"), int(port)))


async def _api(prefix: str) -> Any:
    return await api_reading.read(prefix)


async def _api_rights(prefix: str) -> Any:
    return await api_reading.rights(prefix)


async def _api_clock(prefix: str) -> Any:
    """Where the kubeconfig says, which may be the agent's alone."""
    config = identity.configuration(prefix)
    held = credential.credential(config)
    try:
        access = await held.access()
        authority = text_files.armour(access.authority)
        return await server_clock.ahead(access.server, authority, time.time, access.server_name)
    except Trouble as trouble:
        return trouble.fault.detail
    except server_clock.Unread as error:
        return str(error)
    finally:
        await held.close()


async def server_ahead(config: Config) -> float:
    """Seconds. Raises server_clock.Unread."""
    try:
        authority = text_files.armour(reading.read(Path(config.api.ca), reading.DOCUMENT, links=True))
    except OSError as error:
        raise server_clock.Unread(f"cannot read {config.api.ca}: {error.strerror}") from None
    return await server_clock.ahead(config.api.server, authority, time.time)


QUESTIONS: Final[Mapping[str, Question]] = {
    "agent-identity": _agent_identity,
    "proxy-identity": _proxy_identity,
    "helper": _helper,
    "proxy-binary": _proxy_binary,
    "control-plane": _control_plane,
    "path-mtu": _path_mtu,
    "api": _api,
    "api-rights": _api_rights,
    "api-clock": _api_clock,
}


def become(uid: int, gid: int) -> None:
    """For good. An interpreter may be where that user cannot read it, so this is not left to the start."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def main(arguments: Sequence[str]) -> int:
    match arguments:
        case [prefix, question, uid, gid] if question in QUESTIONS and uid.isdecimal() and gid.isdecimal():
            become(int(uid), int(gid))
            print(json.dumps(asyncio.run(QUESTIONS[question](prefix))), flush=True)
            return 0
    print("usage: python -m agent.offline.doctor.users PREFIX QUESTION UID GID", file=sys.stderr)
    return USAGE


if __name__ == "__main__":
    secrecy.no_core_files()  # the Workload API gives it the proxy's key
    sys.exit(main(sys.argv[1:]))
