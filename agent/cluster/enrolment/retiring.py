"""Retires a host: the host drains, then its rights and its Lease go, and its ExternalWorkload last.

Law: no time that a host wrote is compared with a clock here. A host is silent once its Lease has not changed for
as long as it lasts, on this program's own clock. A live ExternalWorkload is never deleted: linkerd-destination
up to edge-26.8.3 crashes while a client is subscribed to its address.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from agent.adapters.kube import SLICES, json_values
from agent.adapters.kube.json_values import Json, part, text
from agent.adapters.kube.objects import Absent, Objects
from agent.cluster.enrolment.refused import by_the_server, refused
from agent.core import conditions
from agent.core.conditions import READY, Word
from agent.core.enrol import objects
from agent.core.enrol.request import Host
from agent.core.reasons import Reason
from agent.ports import Trouble

SILENT: Final = timedelta(minutes=10)  # after which clients have forgotten an address
LEAST: Final = 40.0  # seconds without a renewal after which a host is silent, if its Lease does not say more
POLL: Final = 1.0
NOBODY: Final = "fairlead:retired"  # an API user that does not exist
_AGAIN: Final = 5  # times that a write is repeated after another program's


@dataclass(frozen=True)
class Outcome:
    """`kept`: why the ExternalWorkload stays for now; "": it is deleted. `absent`: there was none."""

    kept: str = ""
    remedy: str = ""
    absent: bool = False


class Retirement:
    """`say`: one line for each step. `wall`: now, RFC 3339. `unrenewed`: the version that the Lease has had for
    days, as the caller knows: the host is silent while it has that one; "": this program observes it."""

    def __init__(
        self,
        api: Objects,
        host: Host,
        say: Callable[[str], None],
        wall: Callable[[], str],
        *,
        unrenewed: str = "",
    ) -> None:
        self._api, self._host, self._say, self._wall = api, host, say, wall
        self._unrenewed = unrenewed
        self._workload = objects.path(objects.workload(host))
        self._lease = objects.path(objects.lease(host, ""))

    async def run(self, timeout: float) -> Outcome:
        """Each step may be repeated. Raises Refused: the host has not drained within `timeout` seconds."""
        try:
            return await self._run(timeout)
        except Absent as absent:
            raise refused(f"another program deleted an object meanwhile: {absent}", "run it again") from None
        except Trouble as trouble:
            raise by_the_server(f"retire {self._host.label}", trouble) from None

    async def _run(self, timeout: float) -> Outcome:
        found = await self._api.get(self._workload)
        if found is None:
            await self._remove_rights()
            return Outcome(absent=True)
        annotations = await self._mark(found)
        drained = annotations.get(objects.DRAINED) == "true" or await self._has_drained(timeout)
        if drained:
            self._say("the host has drained")
            await self._annotate(self._workload, {objects.DRAINED: "true"})
        else:
            self._say("the host is silent")
            await self._silence()
        await self._remove_rights()
        return await self._delete(timedelta() if drained else _silent_in(found))

    async def _mark(self, found: Json) -> dict[str, str]:
        """Ask the host to drain; the first time counts. Returns the annotations before."""
        annotations = part(part(found, "metadata"), "annotations")
        if objects.RETIRE not in annotations:
            await self._annotate(self._workload, {objects.RETIRE: self._wall()})
            self._say("asked the host to drain")
        return annotations

    # the host -----------------------------------------------------------------------------------

    async def _has_drained(self, timeout: float) -> bool:
        """Whether the host says so; False: it is silent. Raises Refused."""
        loop = asyncio.get_running_loop()
        end, version, since = loop.time() + timeout, "", loop.time()
        while True:
            workload, lease = await self._api.get(self._workload), await self._api.get(self._lease)
            if workload is None or lease is None:
                return False
            if _said_so(workload, lease):
                return True
            seen = text(part(lease, "metadata"), "resourceVersion")
            if self._unrenewed:
                return await self._still_silent(seen)
            version, since = (seen, loop.time()) if seen != version else (version, since)
            if _known_dead(workload, lease) or loop.time() - since > max(LEAST, json_values.lease(lease).duration):
                return False
            if loop.time() > end:
                cause = f"{self._host.label} renews its Lease and has not drained within {timeout:g} s"
                raise refused(cause, "see `fairlead status` there; run the command again, it continues")
            await asyncio.sleep(POLL)

    async def _still_silent(self, version: str) -> bool:
        """False, as _has_drained says it. Raises Refused: the host is back, and need not leave."""
        if version == self._unrenewed:
            return False
        await self._api.patch(self._workload, {"metadata": {"annotations": {objects.RETIRE: None}}})
        raise refused(
            f"{self._host.label} has just renewed its Lease", "to retire it nevertheless: fairlead retire"
        )

    async def _silence(self) -> None:
        """Its right goes first, so that it cannot correct what follows; then Ready."""
        await self._remove("RoleBinding", self._host.role)
        for path in (self._workload, self._lease):
            try:
                await self._annotate(path, {objects.HOST: NOBODY})
            except Absent:
                continue
        for attempt in range(_AGAIN):
            try:
                await self._not_ready()
                return
            except Trouble as trouble:
                if trouble.reason is not Reason.API_CONFLICT or attempt == _AGAIN - 1:
                    raise

    async def _not_ready(self) -> None:
        body = await self._api.get(self._workload)
        if body is None:
            return
        seen = json_values.workload(body)
        wanted = conditions.written(seen, (Word(READY, "False", Reason.RETIRED),), self._wall())
        if conditions.of(seen, READY) == [one for one in wanted if one.type == READY]:
            return
        patch = {
            "metadata": {"resourceVersion": seen.resource_version},
            "status": {"conditions": [json_values.condition_json(one) for one in wanted]},
        }
        await self._api.patch(f"{self._workload}/status", patch)
        self._say("published Ready=False")

    # the objects --------------------------------------------------------------------------------

    async def _remove_rights(self) -> None:
        await self._remove("RoleBinding", self._host.role)
        await self._remove("Role", self._host.role)
        await self._remove("ServiceAccount", self._host.role)
        await self._remove("Lease", self._host.name)

    async def _remove(self, kind: str, name: str) -> None:
        version = objects.VERSIONS[kind]
        path = f"{objects.collection(version, kind, self._host.namespace)}/{name}"
        found = await self._api.get(path)
        if found is not None and await self._api.delete(path, text(part(found, "metadata"), "uid")):
            self._say(f"deleted {kind} {self._host.namespace}/{name}")

    async def _delete(self, wait: timedelta) -> Outcome:
        body = await self._api.get(self._workload)
        if body is None:
            return Outcome()
        named = f"ExternalWorkload {self._host.label}"
        if await self._listed():
            return Outcome(f"{named} stays: an EndpointSlice lists it as ready", "run the command again")
        if wait > timedelta():
            minutes = -(-wait // timedelta(minutes=1))
            cause = f"{named} stays, not Ready: the host did not say that no request is in flight"
            return Outcome(cause, f"run the command again in {minutes} min")
        if await self._api.delete(self._workload, text(part(body, "metadata"), "uid")):
            self._say(f"deleted {named}")
        return Outcome()

    async def _listed(self) -> bool:
        path = f"/apis/discovery.k8s.io/v1/namespaces/{self._host.namespace}/endpointslices"
        async for body in self._api.items(path, {"labelSelector": SLICES}):
            if json_values.lists(body, self._host.namespace, self._host.name):
                return True
        return False

    async def _annotate(self, path: str, annotations: dict[str, str]) -> None:
        await self._api.patch(path, {"metadata": {"annotations": annotations}})


def _said_so(workload: Json, lease: Json) -> bool:
    ready = json_values.workload(workload).ready
    return ready != "True" and json_values.lease(lease).annotations.get(objects.DRAINED) == "true"


def _known_dead(workload: Json, lease: Json) -> bool:
    """The watcher has found so, or the host has never joined."""
    found = json_values.workload(workload)
    unreachable = any(one.reason == Reason.HOST_UNREACHABLE.value for one in conditions.of(found, READY))
    return unreachable or (found.ready != "True" and not json_values.lease(lease).renew_time)


def _silent_in(found: Json) -> timedelta:
    """Until the host has been silent for long enough: since the watcher found so, or since it was asked to drain.
    Both times are of programs off the host."""
    asked = text(part(part(found, "metadata"), "annotations"), objects.RETIRE)
    times = [asked] + [
        one.last_transition_time
        for one in json_values.workload(found).conditions
        if one.type == READY and one.reason == Reason.HOST_UNREACHABLE.value
    ]
    now = datetime.now(UTC)
    return max(timedelta(), min((known for one in times if (known := _time(one))), default=now) + SILENT - now)


def _time(written: str) -> datetime | None:
    try:
        return datetime.fromisoformat(written)
    except ValueError:
        return None
