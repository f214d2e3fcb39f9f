"""Calls to the SPIFFE Workload API, as this process's own user, and what is in its answers."""

from typing import TYPE_CHECKING, Final

from agent.adapters.grpc_client import Dial, Headers

if TYPE_CHECKING:
    import asyncio

HEADERS: Final[Headers] = (("workload.spiffe.io", "true"),)  # the standard, §4: against request forgery
FETCH_X509: Final = "/SpiffeWorkloadAPI/FetchX509SVID"
FETCH_JWT: Final = "/SpiffeWorkloadAPI/FetchJWTSVID"


def at(path: str) -> Dial:
    """Connects to the unix socket `path`."""

    async def dial() -> "tuple[asyncio.StreamReader, asyncio.StreamWriter]":
        import asyncio  # as grpc_client

        return await asyncio.open_unix_connection(path)

    return dial
