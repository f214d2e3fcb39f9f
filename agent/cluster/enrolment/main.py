"""The commands of enrolment, from what the operator gave to what was done."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from agent.adapters.kube import pod
from agent.adapters.kube.access import Access
from agent.adapters.kube.objects import Objects
from agent.cluster.enrolment import access, due, groups, mesh
from agent.cluster.enrolment.order import Order
from agent.cluster.enrolment.refused import Refused, refused
from agent.cluster.enrolment.retiring import Outcome, Retirement
from agent.cluster.enrolment.writing import MANAGER, Writer, of_workload
from agent.core.enrol import joining, request
from agent.core.enrol.bundle import Bundle
from agent.core.enrol.group import Group
from agent.core.enrol.joining import Choices
from agent.core.enrol.request import Host
from agent.host import clocks
from agent.ports import Trouble


@dataclass(frozen=True)
class Way:
    """To the API server. "": as kubectl has it."""

    kubeconfig: str = ""
    context: str = ""


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
        host, found, group = await _host(api, writer, order, given)
        seen = await mesh.look(api, found_access, given, host.namespace)
        made = joining.bundle(host, seen, groups.choices(choices, group), clocks.exact_wall())
        await writer.check(host, found)
        await writer.write(host, found)
        if group is not None:
            await groups.count(api, group)
        return Enrolled(host, made, api.requests)


async def _planned(way: Way, order: Order, given: mesh.Given) -> list[dict[str, Any]]:
    async with _connected(way) as (api, _):
        writer = Writer(api, lambda _: None, force=order.force, replace=order.replace)
        host, found, _ = await _host(api, writer, order, given)
        await writer.check(host, found)
        return await writer.try_out(host)


def retire(way: Way, name: str, namespace: str, timeout: float, say: Callable[[str], None]) -> Outcome:
    """Raises Refused."""
    return asyncio.run(_retire(way, Host(name, namespace, (), "", ""), timeout, say))


async def _retire(way: Way, host: Host, timeout: float, say: Callable[[str], None]) -> Outcome:
    async with _connected(way) as (api, _):
        return await Retirement(api, host, say, clocks.exact_wall).run(timeout)


def retire_due(way: Way, namespace: str, say: Callable[[str], None]) -> due.Retired:
    """`namespace`: "" for all. In a pod, and without a kubeconfig, as its own account. Raises Refused."""
    return asyncio.run(_retire_due(way, namespace, say))


async def _retire_due(way: Way, namespace: str, say: Callable[[str], None]) -> due.Retired:
    async with _connected(way, in_pod=True) as (api, _):
        return await due.retire_due(api, namespace, say, clocks.exact_wall)


def sync(way: Way, name: str, namespace: str, say: Callable[[str], None], *, dry: bool) -> groups.Synced:
    """Raises Refused."""
    return asyncio.run(_sync(way, name, namespace, say, dry))


async def _sync(way: Way, name: str, namespace: str, say: Callable[[str], None], dry: bool) -> groups.Synced:
    async with _connected(way) as (api, _):
        return await groups.sync(api, name, namespace, say, dry=dry)


@asynccontextmanager
async def _connected(way: Way, *, in_pod: bool = False) -> AsyncIterator[tuple[Objects, Access]]:
    mine = pod.credential(os.environ) if in_pod and not way.kubeconfig else None
    credential = mine or access.kubeconfig(way.kubeconfig, way.context)
    api = Objects(credential, MANAGER)
    try:
        yield api, await credential.access()
    except Trouble as trouble:
        remedy = trouble.fault.way_out
        raise refused(f"cannot reach the API server: {trouble.detail}", remedy) from None
    finally:
        await api.close()


async def _host(
    api: Objects, writer: Writer, order: Order, given: mesh.Given
) -> tuple[Host, dict[str, Any] | None, Group | None]:
    """The host, its ExternalWorkload where there is one, and its group."""
    if wrong := list(request.name_problems(order.name)):
        raise Refused(wrong)
    found = await writer.existing(order.namespace, order.name)
    there = None if found is None else of_workload(found, order.name, order.namespace)
    name = order.group or (there.group if there else "")
    group = await groups.read(api, order.namespace, name) if name else None
    host = groups.member(order, given, there, group)
    wrong = [*request.problems(host), *(groups.problems(group, host.addresses) if group else ())]
    if wrong:
        raise Refused(wrong)
    return host, found, group
