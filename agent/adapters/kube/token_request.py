"""A token for Linkerd's identity controller, asked of the API server for one service account."""

from agent.adapters.kube import calls, json_values
from agent.core.reasons import Reason
from agent.core.token import AUDIENCE
from agent.ports import Trouble

# As Linkerd has its pods' tokens: the proxy shows it again at 70 % of each certificate's life, a day by default.
LIFETIME = 86400  # seconds; the server may give less


class TokenRequest:
    def __init__(self, caller: calls.Caller, namespace: str, account: str) -> None:
        self._caller, self._path = caller, f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"

    async def ask(self) -> str:
        """Raises Trouble (API_*, IDENTITY_TOKEN_UNREADABLE)."""
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [AUDIENCE], "expirationSeconds": LIFETIME},
        }
        answer = await self._caller.call("POST", self._path, Reason.IDENTITY_TOKEN_UNREADABLE, body)
        if text := json_values.text(json_values.part(answer, "status"), "token"):
            return text
        raise Trouble(Reason.IDENTITY_TOKEN_UNREADABLE, "the API server answered without a token")
