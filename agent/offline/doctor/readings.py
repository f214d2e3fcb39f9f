"""How each check of the host's registry is read, by its name."""

import contextlib
import os
import time
from collections.abc import Mapping

from agent.adapters import anchors, server_clock, x509_chains
from agent.config import Config, derived
from agent.core.doctor import identity as judged
from agent.core.reasons import Fault, Reason
from agent.host import Host, reading
from agent.loops.checks import NotHere, Reader, Unread
from agent.offline import identity
from agent.offline.doctor import host_readings, machine_readings, users, way
from agent.offline.doctor.sources import Sources, blocking
from agent.ports import Trouble

TO_JOIN = "sudo fairlead join BUNDLE; what it would find: sudo fairlead doctor --bundle BUNDLE"


def of_host(sources: Sources) -> Mapping[str, Reader]:
    return {
        "configuration": lambda: _configuration(sources),
        "workload-api": lambda: _workload_api(sources),
        "clock": lambda: _clock(sources),
        "agent-identity": lambda: _agent(sources),
        "proxy-identity": lambda: _proxy(sources),
        "trust-anchors": lambda: _anchors(sources),
        "trust": lambda: _trust(sources),
        "disk": lambda: machine_readings.disk(sources),
        "proxy-binary": lambda: machine_readings.binary(sources),
        "helper": lambda: machine_readings.helper(sources),
        "agent": lambda: machine_readings.agent(sources),
        "versions": lambda: machine_readings.versions(sources),
        "replacement": lambda: machine_readings.replacement(sources),
        "limits": lambda: machine_readings.limits(sources),
        "ready": lambda: machine_readings.agent(sources),
        "control-plane-names": lambda: host_readings.names(sources),
        "pod-routes": lambda: host_readings.routes(sources),
        "control-plane": lambda: host_readings.control_plane(sources),
        "path-mtu": lambda: host_readings.path_mtu(sources),
        "api-server": lambda: host_readings.api_fault(sources),
        "api-credential": lambda: host_readings.api_fault(sources),
        "api-rights": lambda: host_readings.reviews(sources),
        "workload": lambda: host_readings.workload(sources),
        "lease": lambda: host_readings.lease(sources),
        "application": lambda: host_readings.application(sources),
        "proxy-ports": lambda: host_readings.proxy_ports(sources),
        "guide-rules": lambda: host_readings.guide(sources),
        "firewall": lambda: host_readings.firewall(sources),
        "redirect": lambda: host_readings.refused(sources),
        "rules": lambda: host_readings.live(sources),
    }


async def _configuration(sources: Sources) -> Fault | None:
    path = sources.host.configuration
    if reading.absent(path):
        return Fault(Reason.CONFIGURATION_UNUSABLE, f"{path} does not exist", TO_JOIN)
    if not os.access(path, os.R_OK):
        raise NotHere("needs root, which may read it")
    try:
        identity.configuration(sources.prefix)
    except identity.Unconfigured as error:
        return Fault(Reason.CONFIGURATION_UNUSABLE, str(error))
    return None


# identity ------------------------------------------------------------------------------------------


async def _workload_api(sources: Sources) -> judged.Way:
    config = _by_spiffe(sources)
    both = [users.agent(config)]
    with contextlib.suppress(NotHere):  # as the check of the proxy's identity says
        both.append(users.proxy(config))
    return await blocking(way.to, config.identity.workload_api, both)


def _by_spiffe(sources: Sources) -> Config:
    config = sources.config()
    if config.identity.mode != "spiffe":
        raise NotHere("identity.mode is token")
    return config


async def _clock(sources: Sources) -> judged.Clock:
    """Of the SVIDs those that can be read."""
    svids = []
    for identity_of in (sources.agent_identity, sources.proxy_identity):
        with contextlib.suppress(NotHere, Unread):
            svids.append(await identity_of())
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
    return await _answer(sources, users.agent(config), await sources.agent_identity(), "agent")


async def _proxy(sources: Sources) -> judged.Answer:
    config = sources.config()
    return await _answer(sources, users.proxy(config), await sources.proxy_identity(), "proxy")


async def _answer(sources: Sources, user: users.User, fault: Fault | None, whose: str) -> judged.Answer:
    """With entries by unit, only the running programs get an SVID."""
    name = sources.config().workload.identity
    certified = await machine_readings.certified(sources, whose) if fault and _by_unit(sources) else ""
    return judged.Answer(user.name, user.uid, name, fault, certified)


def _by_unit(sources: Sources) -> bool:
    """A program of a prefix is in no unit."""
    return sources.host.prefix == Host().prefix


async def _anchors(sources: Sources) -> judged.Anchors:
    config, host = sources.config(), sources.host
    places = anchors.Places(derived.anchors_in_force(config, host.prefix), host.anchors_kept)
    path = str(reading.present(places.in_force))
    try:
        found = await blocking(anchors.in_force, places)
    except Trouble as trouble:
        return judged.Anchors(path, trouble.fault)
    last = x509_chains.covered_until(found, ())
    return judged.Anchors(path, None, (last or 0.0) - time.time())


async def _trust(sources: Sources) -> Fault | None:
    return await sources.proxy_identity()
