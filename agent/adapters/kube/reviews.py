"""What the API server allows to whom it is asked as, right by right."""

from agent.adapters.kube import calls, json_values
from agent.core.doctor.api import Right
from agent.core.reasons import Reason

_PATH = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class Reviews:
    def __init__(self, caller: calls.Caller) -> None:
        self._caller = caller

    async def allowed(self, right: Right) -> bool:
        """Raises Trouble (API_*)."""
        resource, _, subresource = right.resource.partition("/")
        attributes = {
            "namespace": right.namespace,
            "verb": right.verb,
            "group": right.group,
            "resource": resource,
            "subresource": subresource,
            "name": right.name,
        }
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = await self._caller.call("POST", _PATH, Reason.API_REFUSED, body)
        return json_values.part(answer, "status").get("allowed") is True
