"""How each check of the host's registry is read, by its name."""

import os
import time
from collections.abc import Mapping

from agent.adapters import anchors, server_clock
from agent.config import Config, derived
from agent.core.doctor import identity as judged
from agent.core.reasons import Fault, Reason
from agent.host import reading
from agent.loops.checks import NotHere, Reader
from agent.offline import identity
from agent.offline.doctor import users, way
from agent.offline.doctor.sources import Sources, blocking
from agent.ports import Trouble


def of_host(sources: Sources) -> Mapping[str, Reader]:
    return {
        "configuration": lambda: _configuration(sources),
        "workload-api": lambda: _workload_api(sources),
        "clock": lambda: _clock(sources),
        "agent-identity": lambda: _agent(sources),
        "proxy-identity": lambda: _proxy(sources),
        "trust-anchors": lambda: _anchors(sources),
        "trust": lambda: _trust(sources),
    }


async def _configuration(sources: Sources) -> Fault | None:
    path = sources.host.configuration
    if not os.access(path, os.R_OK) and not reading.absent(path):
        raise NotHere("needs root, which may read it")
    try:
        identity.configuration(sources.prefix)
    except identity.Unconfigured as error:
        return Fault(Reason.CONFIGURATION_UNUSABLE, str(error))
    return None


# identity ------------------------------------------------------------------------------------------


async def _workload_api(sources: Sources) -> judged.Way:
    config = _by_spiffe(sources)
    both = [users.agent(config), users.proxy(config)]
    return await blocking(way.to, config.identity.workload_api, both)


def _by_spiffe(sources: Sources) -> Config:
    config = sources.config()
    if config.identity.mode != "spiffe":
        raise NotHere("identity.mode is token")
    return config


async def _clock(sources: Sources) -> judged.Clock:
    """The SVIDs only where they are read anyway: as this user."""
    svids = [await sources.agent_identity()] if users.agent(sources.config()).uid == os.geteuid() else []
    if os.geteuid() == 0:
        svids.append(await sources.proxy_identity())
    try:
        return judged.Clock(await _server_ahead(sources), "", svids)
    except server_clock.Unread as error:
        return judged.Clock(None, str(error), svids)


async def _server_ahead(sources: Sources) -> float:
    config = sources.config()
    if config.api.auth == "kubeconfig":
        found = await sources.asked(users.agent(config), "api-clock")
        if isinstance(found, str):
            raise server_clock.Unread(found)
        return float(found)
    return await users.server_ahead(config)


async def _agent(sources: Sources) -> judged.Answer:
    config = _by_spiffe(sources)
    return await _answer(config, users.agent(config), await sources.agent_identity())


async def _proxy(sources: Sources) -> judged.Answer:
    config = sources.config()
    return await _answer(config, users.proxy(config), await sources.proxy_identity())


async def _answer(config: Config, user: users.User, fault: Fault | None) -> judged.Answer:
    socket, name = config.identity.workload_api, config.workload.identity
    return judged.Answer(user.name, user.uid, socket, name, fault)


async def _anchors(sources: Sources) -> judged.Anchors:
    config, host = sources.config(), sources.host
    places = anchors.Places(derived.anchors_in_force(config, host.prefix), host.anchors_kept)
    path = str(reading.present(places.in_force))
    try:
        found = await blocking(anchors.in_force, places)
    except Trouble as trouble:
        return judged.Anchors(path, trouble.fault)
    last = anchors.covered_until(found, ())
    return judged.Anchors(path, None, (last or 0.0) - time.time())


async def _trust(sources: Sources) -> Fault | None:
    return await sources.proxy_identity()
