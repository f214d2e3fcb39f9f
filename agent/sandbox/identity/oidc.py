"""An OIDC issuer for JWT-SVIDs: discovery and keys over TLS, as SPIRE's discovery provider serves them."""

import asyncio
import ssl

from aiohttp import web

from agent.host import serving
from agent.sandbox.identity.jwt_authority import ALGORITHM, JwtAuthority
from agent.sandbox.identity.server import Server


class OidcIssuer(Server):
    """Serves `authority`, whose issuer it becomes, at https://127.0.0.1 from `start` to `stop`."""

    def __init__(self, authority: JwtAuthority, tls: ssl.SSLContext) -> None:
        self._authority, self._tls = authority, tls
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self.url, self._port = "", 0
        self.asked = 0  # for the keys

    async def start(self) -> None:
        """A second start uses the port of the first; starting it twice changes nothing."""
        if self._runner is not None:
            return
        app = web.Application()
        app.add_routes(
            [web.get("/.well-known/openid-configuration", self._discovery), web.get("/keys", self._keys)]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        assert self._runner.server is not None
        make = asyncio.get_running_loop().create_server
        self._server = await make(self._runner.server, "127.0.0.1", self._port, ssl=self._tls)
        self._port = self._server.sockets[0].getsockname()[1]
        self.url = self._authority.issuer = f"https://127.0.0.1:{self._port}"

    async def stop(self) -> None:
        if self._server is not None:
            await serving.close(self._server)
            self._server = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _discovery(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/keys",
                "authorization_endpoint": "",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": [ALGORITHM],
            }
        )

    async def _keys(self, request: web.Request) -> web.Response:
        self.asked += 1
        return web.json_response(self._authority.keys("sig"))
