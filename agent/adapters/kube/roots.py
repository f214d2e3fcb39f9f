"""The mesh's trust anchors as the cluster publishes them, for every namespace's proxies, in one ConfigMap."""

from agent.adapters.kube import calls, json_values
from agent.core.reasons import Reason
from agent.ports import Trouble

NAME, KEY = "linkerd-identity-trust-roots", "ca-bundle.crt"


class TrustRoots:
    """`namespace`: of Linkerd's control plane."""

    def __init__(self, caller: calls.Caller, namespace: str) -> None:
        self._caller, self._path = caller, f"/api/v1/namespaces/{namespace}/configmaps/{NAME}"

    async def read(self) -> str:
        """PEM. Raises Trouble (API_*, TRUST_ANCHORS_MISSING)."""
        config_map = await self._caller.call("GET", self._path, Reason.TRUST_ANCHORS_MISSING)
        if pem := json_values.text(json_values.part(config_map, "data"), KEY):
            return pem
        raise Trouble(Reason.TRUST_ANCHORS_MISSING, f"{NAME} has no {KEY}")
