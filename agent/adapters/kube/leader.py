"""LeaderApi over HTTPS: one Lease, written only as a change of what was read."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from agent.adapters.kube import calls, json_values
from agent.adapters.kube.json_values import Json
from agent.core.reasons import Reason
from agent.ports import Event, Trouble
from agent.watcher_ports import Leadership


class LeaderApi:
    """`instance`: of this program, in its Events. `wall`: now as RFC 3339 with microseconds, for people: no
    replica reads it."""

    def __init__(
        self, caller: calls.Caller, namespace: str, name: str, instance: str, wall: Callable[[], str]
    ) -> None:
        self._caller, self._namespace, self._name = caller, namespace, name
        self._instance, self._wall = instance, wall
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"

    async def read(self) -> Leadership | None:
        try:
            return _leadership(await self._caller.call("GET", f"{self._path}/{self._name}", Reason.LEASE_MISSING))
        except Trouble as trouble:
            if trouble.reason is Reason.LEASE_MISSING:
                return None
            raise

    async def write(
        self, before: Leadership | None, holder: str, duration: int, annotations: Mapping[str, str]
    ) -> Leadership:
        spec = {"holderIdentity": holder, "renewTime": self._wall(), "leaseDurationSeconds": duration}
        meta: Json = {"annotations": dict(annotations)}
        if before is None:
            body = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {**meta, "name": self._name},
                "spec": {**spec, "acquireTime": self._wall()},
            }
            return _leadership(await self._caller.call("POST", self._path, Reason.API_REFUSED, body))
        if holder not in ("", before.holder):
            spec |= {"acquireTime": self._wall(), "leaseTransitions": before.transitions + 1}
        body = {"metadata": {**meta, "resourceVersion": before.version}, "spec": spec}
        path = f"{self._path}/{self._name}"
        return _leadership(await self._caller.call("PATCH", path, Reason.LEASE_MISSING, body))

    async def post_event(self, event: Event) -> None:
        named = replace(event, name=f"{self._name}.{event.name}")
        body = json_values.event_json(
            named, self._namespace, self._name, json_values.LEASE, by="watcher", instance=self._instance
        )
        path = f"/apis/events.k8s.io/v1/namespaces/{self._namespace}/events"
        await self._caller.call("POST", path, Reason.API_REFUSED, body)


def _leadership(body: Json) -> Leadership:
    transitions = json_values.part(body, "spec").get("leaseTransitions")
    return Leadership(
        holder=json_values.lease(body).holder,
        version=json_values.text(json_values.part(body, "metadata"), "resourceVersion"),
        transitions=transitions if isinstance(transitions, int) else 0,
    )
