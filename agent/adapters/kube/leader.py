"""LeaderApi over HTTPS: one Lease, written only as a change of what was read."""

from collections.abc import Callable, Mapping

from agent.adapters.kube import calls, json_values
from agent.adapters.kube.json_values import Json
from agent.core.reasons import Reason
from agent.ports import Leadership, Trouble


class LeaderApi:
    """`wall`: now as RFC 3339 with microseconds, for people: no replica reads it."""

    def __init__(self, caller: calls.Caller, namespace: str, name: str, wall: Callable[[], str]) -> None:
        self._caller, self._name, self._wall = caller, name, wall
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
            body = {"metadata": {**meta, "name": self._name}, "spec": {**spec, "acquireTime": self._wall()}}
            return _leadership(await self._caller.call("POST", self._path, Reason.API_REFUSED, body))
        if holder not in ("", before.holder):
            spec |= {"acquireTime": self._wall(), "leaseTransitions": before.transitions + 1}
        body = {"metadata": {**meta, "resourceVersion": before.version}, "spec": spec}
        path = f"{self._path}/{self._name}"
        return _leadership(await self._caller.call("PATCH", path, Reason.LEASE_MISSING, body))


def _leadership(body: Json) -> Leadership:
    transitions = json_values.part(body, "spec").get("leaseTransitions")
    return Leadership(
        holder=json_values.lease(body).holder,
        version=json_values.text(json_values.part(body, "metadata"), "resourceVersion"),
        transitions=transitions if isinstance(transitions, int) else 0,
    )
