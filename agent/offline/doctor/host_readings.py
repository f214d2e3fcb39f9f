"""Readings of the host itself: its way to the cluster, its application, and the kernel's rules."""

import asyncio
import contextlib
import socket
from collections.abc import Mapping
from typing import Any, Final

from agent.adapters import dns_records, proxy_reading
from agent.config import derived
from agent.core import proxy_sockets
from agent.core.doctor import network, rules
from agent.core.doctor.api import Review
from agent.core.reasons import Fault
from agent.loops.checks import NotHere, Unread
from agent.offline import helper, redirect
from agent.offline.doctor import api_reading, users
from agent.offline.doctor.plain_faults import fault
from agent.offline.doctor.sources import Sources, blocking
from agent.offline.redirect import Redirect
from agent.privileged import Refusal
from agent.privileged.redirect import guide_chains
from agent.privileged.system import iproute

_OTHERS: Final = 0.4  # seconds for the resolver of other programs

# the way to the cluster ----------------------------------------------------------------------------


async def names(sources: Sources) -> Mapping[str, network.Name]:
    places = users.controllers(sources.config(), sources.prefix)
    found = await asyncio.gather(*(_name(place) for place, _ in places.values()))
    return dict(zip(places, found, strict=True))


async def _name(place: str) -> network.Name:
    host, _, port = place.rpartition(":")
    found = await dns_records.look(host)
    if found.by:
        return network.Name(found.by)
    with contextlib.suppress(OSError, UnicodeError, TimeoutError):
        async with asyncio.timeout(_OTHERS):
            await blocking(socket.getaddrinfo, host, int(port))
            return network.Name("", found.why, elsewhere=True)
    return network.Name("", found.why)


async def control_plane(sources: Sources) -> network.ControlPlane:
    return network.ControlPlane(*map(fault, await sources.asked(users.proxy(sources.config()), "control-plane")))


async def path_mtu(sources: Sources) -> network.Hello:
    return network.Hello(**await sources.asked(users.proxy(sources.config()), "path-mtu"))


async def routes(sources: Sources) -> network.Routes:
    config = sources.config()
    networks = config.control_plane.cluster_networks or config.redirect.outbound_networks
    if not networks:
        raise NotHere("neither control_plane.cluster_networks nor redirect.outbound_networks is set")
    return network.Routes({str(one): await blocking(_way, str(one[1 % one.num_addresses])) for one in networks})


def _way(address: str) -> str:
    for route in iproute.ip("route", "get", address):
        via = f"via {route['gateway']} " if "gateway" in route else ""
        return f"{via}dev {route.get('dev', '?')}"
    return ""


# the API server ------------------------------------------------------------------------------------


async def api(sources: Sources) -> Any:
    return await sources.asked(users.agent(sources.config()), "api")


async def api_fault(sources: Sources) -> Fault | None:
    return fault((await api(sources))["fault"])


async def reviews(sources: Sources) -> list[Review]:
    config = sources.config()
    answer = await sources.asked(users.agent(config), "api-rights")
    if isinstance(answer, dict):
        found = fault(answer)
        raise Unread(found.detail if found else "no answer")
    return [Review(right, allowed) for right, allowed in zip(api_reading.wanted(config), answer, strict=True)]


async def workload(sources: Sources) -> list[Fault]:
    answer = await api(sources)
    return [one for one in map(fault, [answer["fault"], *answer["workload"]]) if one is not None]


async def lease(sources: Sources) -> Fault | None:
    answer = await api(sources)
    if answer["fault"] is not None:
        raise Unread("not read without the ExternalWorkload")
    return fault(answer["lease"])


# the application and the proxy's ports -------------------------------------------------------------


async def application(sources: Sources) -> network.Application:
    config = sources.config()
    ports, addresses = config.workload.ports, tuple(map(str, config.host.addresses))
    return network.Application(ports, addresses, tuple(await blocking(proxy_reading.listeners)))


async def proxy_ports(sources: Sources) -> Fault | None:
    config = sources.config()
    settings = derived.proxy_settings(config, sources.prefix)
    return proxy_sockets.taken(settings, await blocking(proxy_reading.listeners), users.proxy(config).uid)


# the kernel's rules --------------------------------------------------------------------------------


async def guide(sources: Sources) -> tuple[str, ...]:
    try:
        return await blocking(guide_chains.chains)
    except Refusal as refusal:
        raise Unread(refusal.detail) from None


async def _redirect(sources: Sources) -> Redirect:
    async def read() -> Redirect:
        try:
            return await blocking(redirect.read, sources.prefix)
        except helper.Refused as refused:
            raise Unread(refused.fault.detail) from None

    if sources.config().redirect.mode == "off":
        raise NotHere("redirect.mode is off")
    return await sources.once("redirect", read)


async def firewall(sources: Sources) -> rules.Firewall:
    found = await _redirect(sources)
    return rules.Firewall(found.admission, found.departures)


async def refused(sources: Sources) -> Fault | None:
    return (await _redirect(sources)).refused


async def live(sources: Sources) -> rules.Rules:
    found = await _redirect(sources)
    levels = f"inbound {found.inbound.value}, outbound {found.outbound.value}"
    live = found.live.rules is not None
    return rules.Rules(live, levels, found.as_planned, found.suspended, found.unread, found.edited)
