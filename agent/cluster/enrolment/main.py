"""The commands of enrolment, from what the operator gave to what was done."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from agent.adapters.kube.access import Access
from agent.adapters.kube.objects import Objects
from agent.cluster.enrolment import access, mesh
from agent.cluster.enrolment.refused import Refused, refused
from agent.cluster.enrolment.retiring import Outcome, Retirement
from agent.cluster.enrolment.writing import MANAGER, Writer, of_workload
from agent.core.enrol import joining, request
from agent.core.enrol.bundle import Bundle
from agent.core.enrol.joining import Choices
from agent.core.enrol.request import Host, Port
from agent.host import clocks
from agent.ports import Trouble


@dataclass(frozen=True)
class Way:
    """To the API server. "": as kubectl has it."""

    kubeconfig: str = ""
    context: str = ""


@dataclass(frozen=True)
class Order:
    """One host, with "", () and None for what the existing ExternalWorkload, or a default, has.
    `identity`, `server_name`: templates with {name} and {namespace}."""

    name: str
    namespace: str
    addresses: tuple[str, ...] = ()
    identity: str = ""
    server_name: str = ""
    ports: tuple[Port, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    api_identity: str = ""
    account: bool | None = None
    force: bool = False
    replace: bool = False


@dataclass(frozen=True)
class Enrolled:
    host: Host
    bundle: Bundle
    requests: int


def enrol(way: Way, order: Order, given: mesh.Given, choices: Choices, say: Callable[[str], None]) -> Enrolled:
    """Raises Refused."""
    return asyncio.run(_enrol(way, order, given, choices, say))


def planned(way: Way, order: Order, given: mesh.Given) -> list[dict[str, Any]]:
    """The objects that `enrol` would write; nothing is written. Raises Refused."""
    return asyncio.run(_planned(way, order, given))


async def _enrol(
    way: Way, order: Order, given: mesh.Given, choices: Choices, say: Callable[[str], None]
) -> Enrolled:
    async with _connected(way) as (api, found_access):
        writer = Writer(api, say, force=order.force, replace=order.replace)
        host, found = await _host(writer, order, given)
        seen = await mesh.look(api, found_access, given, host.namespace)
        made = joining.bundle(host, seen, choices, clocks.exact_wall())
        await writer.check(host, found)
        await writer.write(host, found)
        return Enrolled(host, made, api.requests)


async def _planned(way: Way, order: Order, given: mesh.Given) -> list[dict[str, Any]]:
    async with _connected(way) as (api, _):
        writer = Writer(api, lambda _: None, force=order.force, replace=order.replace)
        host, found = await _host(writer, order, given)
        await writer.check(host, found)
        return await writer.try_out(host)


def retire(way: Way, name: str, namespace: str, timeout: float, say: Callable[[str], None]) -> Outcome:
    """Raises Refused."""
    return asyncio.run(_retire(way, Host(name, namespace, (), "", ""), timeout, say))


async def _retire(way: Way, host: Host, timeout: float, say: Callable[[str], None]) -> Outcome:
    async with _connected(way) as (api, _):
        return await Retirement(api, host, say, clocks.exact_wall).run(timeout)


@asynccontextmanager
async def _connected(way: Way) -> AsyncIterator[tuple[Objects, Access]]:
    credential = access.kubeconfig(way.kubeconfig, way.context)
    api = Objects(credential, MANAGER)
    try:
        yield api, await credential.access()
    except Trouble as trouble:
        remedy = trouble.fault.way_out
        raise refused(f"cannot reach the API server: {trouble.detail}", remedy) from None
    finally:
        await api.close()


async def _host(writer: Writer, order: Order, given: mesh.Given) -> tuple[Host, dict[str, Any] | None]:
    """The host, and its ExternalWorkload where there is one."""
    if wrong := list(request.name_problems(order.name)):
        raise Refused(wrong)
    found = await writer.existing(order.namespace, order.name)
    host = merged(order, given, None if found is None else of_workload(found, order.name, order.namespace))
    if wrong := list(request.problems(host)):
        raise Refused(wrong)
    return host, found


def merged(order: Order, given: mesh.Given, there: Host | None) -> Host:
    """What the operator gave, else what is there, else the usual value."""

    def fill(template: str) -> str:
        return request.filled(template, order.name, order.namespace)

    domain = given.cluster_domain or "cluster.local"
    usual = request.usual_server_name(order.name, order.namespace, given.linkerd, domain)
    return Host(
        name=order.name,
        namespace=order.namespace,
        addresses=order.addresses or (there.addresses if there else ()),
        identity=fill(order.identity) or (there.identity if there else ""),
        server_name=fill(order.server_name) or (there.server_name if there else usual),
        ports=order.ports or (there.ports if there else ()),
        labels=order.labels or (there.labels if there else {}),
        api_identity=fill(order.api_identity) or (there.api_identity if there else ""),
        account=order.account if order.account is not None else bool(there and there.account),
    )
