"""Objects of any kind, for programs off the host: read, applied by the server, patched and deleted."""

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

from agent.adapters.kube import calls, json_values
from agent.adapters.kube.access import Credential
from agent.adapters.kube.json_values import Json
from agent.core.reasons import Reason
from agent.ports import Trouble

APPLY = "application/apply-patch+yaml"  # JSON is YAML
PAGE = "200"
_DRY = {"dryRun": "All"}


class Absent(Exception):
    """There is no such object, or the server does not serve its kind."""


class Objects:
    """`manager`: the field manager of every write. All methods raise Trouble (API_*)."""

    def __init__(self, credential: Credential, manager: str, timeout: float = 8.0) -> None:
        self._caller = calls.Caller(credential, manager, timeout, timeout, rights="operator.yaml")
        self.manager = manager
        self.requests = 0  # that were sent

    async def close(self) -> None:
        await self._caller.close()

    async def get(self, path: str) -> Json | None:
        with suppress(Absent):
            return await self._call("GET", path)
        return None

    async def items(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[Json]:
        """Page by page. Raises Absent too: the server does not serve this kind."""
        more: dict[str, str] = {}
        while True:
            page = await self._call("GET", path, query={**(query or {}), **more, "limit": PAGE})
            for item in json_values.parts(page, "items"):
                yield item
            if not (token := json_values.text(json_values.part(page, "metadata"), "continue")):
                return
            more = {"continue": token}

    async def create(self, path: str, body: Json, *, dry: bool = False) -> Json:
        """Raises Absent too."""
        return await self._call("POST", path, body, {"fieldManager": self.manager} | (_DRY if dry else {}))

    async def apply(self, path: str, body: Json, *, force: bool = False, dry: bool = False) -> Json:
        """By the server (API_CONFLICT names the other manager). Raises Absent too."""
        query = {"fieldManager": self.manager, "force": str(force).lower()} | (_DRY if dry else {})
        return await self._call("PATCH", path, body, query, APPLY)

    async def patch(self, path: str, body: Json) -> Json:
        """A merge patch. Raises Absent too."""
        return await self._call("PATCH", path, body, {"fieldManager": self.manager})

    async def delete(self, path: str, uid: str) -> bool:
        """The object with this uid and no later one of its name. False: it was gone."""
        with suppress(Absent):
            options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
            await self._call("DELETE", path, options)
            return True
        return False

    async def _call(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        query: Mapping[str, str] | None = None,
        content: str = "",
    ) -> Json:
        self.requests += 1
        try:
            return await self._caller.call(method, path, Reason.WORKLOAD_MISSING, body, query, content)
        except Trouble as trouble:
            if trouble.reason in (Reason.WORKLOAD_MISSING, Reason.WORKLOAD_KIND_ABSENT):
                raise Absent(trouble.detail) from trouble
            raise
