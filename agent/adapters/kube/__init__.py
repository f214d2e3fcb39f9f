"""StatusApi, EventApi and SliceApi over HTTPS: the few REST calls of a host, and nothing else of Kubernetes.

Law: https only, verified against the configured CA alone; every call is bounded in time and size; a credential
stands in no log and no error, and there is exactly one. Whatever goes wrong outside becomes a Trouble; missing
fields are "" or ().
"""

from collections.abc import AsyncGenerator, Sequence

from agent.adapters.kube import calls, json_values, reviews, roots, token_request
from agent.adapters.kube.access import Credential, TokenFile
from agent.core.facts import Condition, Workload
from agent.core.reasons import Reason
from agent.ports import Event, Lease, Trouble

# Those that Linkerd writes for ExternalWorkloads (docs/linkerd.md §6.1).
SLICES = "endpointslice.kubernetes.io/managed-by=linkerd-external-workloads-controller"


class KubeApi:
    """`credential`: where the server is, whom to trust there, and what proves who we are. `timeout`:
    seconds for one call. `watch_seconds`: after so long the server ends a watch. `counted`: gets each
    request."""

    def __init__(
        self,
        credential: Credential,
        *,
        namespace: str,
        name: str,
        user_agent: str = "fairlead",
        timeout: float = 4.0,
        watch_seconds: int = 300,
        counted: calls.Counted | None = None,
    ) -> None:
        self._caller = calls.Caller(credential, user_agent, timeout, watch_seconds + timeout, counted=counted)
        self._namespace, self._name, self._watch_seconds = namespace, name, watch_seconds
        self._workloads = f"/apis/workload.linkerd.io/v1beta1/namespaces/{namespace}/externalworkloads"
        self._lease = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}"
        self._events = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
        self._slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        self._whole = False  # the conditions go into the object itself, for it has no /status

    def trust_roots(self, namespace: str) -> roots.TrustRoots:
        return roots.TrustRoots(self._caller, namespace)

    def tokens(self, account: str) -> token_request.TokenRequest:
        """`account`: a service account beside the ExternalWorkload."""
        return token_request.TokenRequest(self._caller, self._namespace, account)

    def reviews(self) -> reviews.Reviews:
        return reviews.Reviews(self._caller)

    async def close(self) -> None:
        await self._caller.close()

    # the ExternalWorkload -----------------------------------------------------------------------

    async def read(self) -> Workload:
        path = f"{self._workloads}/{self._name}"
        return json_values.workload(await self._caller.call("GET", path, Reason.WORKLOAD_MISSING))

    async def patch_conditions(self, workload: Workload, conditions: Sequence[Condition]) -> Workload:
        """The version is the guard: kube-apiserver ignores a uid that is sent to /status, but a recreated
        object never has the version of the old one."""
        if self._whole:
            return await self._patch_whole(workload, conditions)
        try:
            return await self._patch("/status", workload, conditions)
        except Trouble as trouble:
            if trouble.reason is not Reason.WORKLOAD_MISSING:
                raise
        # The object or its /status: the server says the same of both. Linkerd 2.15 has no /status.
        await self.read()
        return await self._patch_whole(workload, conditions)

    async def _patch_whole(self, workload: Workload, conditions: Sequence[Condition]) -> Workload:
        try:
            answer = await self._patch("", workload, conditions)
        except Trouble as trouble:
            self._whole = False
            if trouble.reason is Reason.API_FORBIDDEN:
                raise Trouble(Reason.STATUS_SUBRESOURCE_ABSENT, trouble.detail) from trouble
            raise
        # After an upgrade of Linkerd, such a write is accepted and its status silently dropped.
        self._whole = answer.conditions == tuple(conditions)
        return answer if self._whole else await self._patch("/status", answer, conditions)

    async def _patch(self, subresource: str, workload: Workload, conditions: Sequence[Condition]) -> Workload:
        guard = {"uid": workload.uid, "resourceVersion": workload.resource_version}
        body = {"metadata": guard, "status": {"conditions": [json_values.condition_json(c) for c in conditions]}}
        path = f"{self._workloads}/{self._name}{subresource}"
        return json_values.workload(await self._caller.call("PATCH", path, Reason.WORKLOAD_MISSING, body))

    async def watch(self, resource_version: str) -> AsyncGenerator[Workload | None, None]:
        query = {
            "watch": "1",
            "fieldSelector": f"metadata.name={self._name}",
            **({"resourceVersion": resource_version} if resource_version else {}),
            "timeoutSeconds": str(self._watch_seconds),
        }
        caller = self._caller
        with caller.as_trouble():
            async with caller.answer("GET", self._workloads, query=query) as response:
                if response.status == 410:
                    return
                await caller.refuse(response, Reason.WORKLOAD_MISSING)
                async for line in calls.lines(response.content()):
                    event = json_values.object(line)
                    body = json_values.part(event, "object")
                    match event.get("type"):
                        case "ADDED" | "MODIFIED":
                            yield json_values.workload(body)
                        case "DELETED":
                            yield None
                        case "ERROR" if body.get("code") == 410:
                            return
                        case "ERROR":
                            message = calls.hidden(json_values.text(body, "message"), response)
                            raise Trouble(Reason.API_FAILING, f"the watch ended: {message}")

    # the Lease ----------------------------------------------------------------------------------

    async def read_lease(self) -> Lease:
        return json_values.lease(await self._caller.call("GET", self._lease, Reason.LEASE_MISSING))

    async def renew_lease(self, lease: Lease) -> Lease:
        spec = {
            "holderIdentity": lease.holder,
            "renewTime": lease.renew_time,
            "leaseDurationSeconds": lease.duration,
        }
        version = {"resourceVersion": lease.version} if lease.version else {}
        body = {"metadata": {"annotations": dict(lease.annotations), **version}, "spec": spec}
        return json_values.lease(await self._caller.call("PATCH", self._lease, Reason.LEASE_MISSING, body))

    # EndpointSlices -----------------------------------------------------------------------------

    async def listed(self) -> bool:
        """Page by page: one answer with every slice of a large namespace may be too much."""
        query = {"labelSelector": SLICES, "limit": "200"}
        while True:
            page = await self._caller.call("GET", self._slices, Reason.API_REFUSED, query=query)
            if any(
                json_values.lists(body, self._namespace, self._name) for body in json_values.parts(page, "items")
            ):
                return True
            if not (more := json_values.text(json_values.part(page, "metadata"), "continue")):
                return False
            query["continue"] = more

    # Events -------------------------------------------------------------------------------------

    async def post_event(self, event: Event) -> None:
        body = json_values.event_json(event, self._namespace, self._name)
        await self._caller.call("POST", self._events, Reason.API_REFUSED, body)

    async def repeat_event(self, name: str, count: int, last: str) -> None:
        body = {"series": {"count": count, "lastObservedTime": last}}
        await self._caller.call("PATCH", f"{self._events}/{name}", Reason.EVENT_GONE, body)


__all__ = ["Credential", "KubeApi", "TokenFile"]
