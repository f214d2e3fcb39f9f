"""A JWT-SVID as credential: the host holds no secret of Kubernetes at all.

It comes over the Workload API whenever it is needed, lives in memory, and is never checked here: whom it proves
is the API server's to judge. Its claims are read for their expiry, and to say what was refused.
"""

import asyncio
import base64
import binascii
import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.adapters import grpc_client, workload_api
from agent.adapters.kube.access import Access, Fresh, Renewed, contents, is_token
from agent.adapters.workload_api import messages
from agent.core import numbers
from agent.core.reasons import Fault, Reason
from agent.ports import Trouble

ANSWER_WITHIN = 10.0


class JwtSvid:
    """Implements Credential. `socket`: of the Workload API. `wall`: now, in seconds since the epoch."""

    def __init__(
        self,
        server: str,
        ca_file: str,
        socket: str,
        audience: str,
        spiffe_id: str,
        wall: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self._access = Access(server, b"", f"cannot read CA certificate {ca_file}")
        self._ca_file = Path(ca_file)
        self._socket, self._audience, self._spiffe_id, self._wall = socket, audience, spiffe_id, wall
        pending = Fault(Reason.API_JWT_MISSING, "the Workload API has not answered yet")
        self._renewed = Renewed(self._fetch, pending, jitter)
        self._claims: dict[str, Any] = {}

    async def access(self) -> Access:
        authority = contents(self._ca_file, "CA certificate")
        return dataclasses.replace(self._access, authority=authority, token=(await self._renewed.get()).token)

    def refused(self, said: str) -> Fault:
        self._renewed.stale()
        shown = ", ".join(
            f"{name} {_plain(self._claims[name])}" for name in ("iss", "aud", "sub") if name in self._claims
        )
        return Fault(Reason.API_JWT_REFUSED, f"{said}: the JWT-SVID has {shown}")

    def about(self) -> dict[str, Any]:
        found: dict[str, Any] = {"kind": "spiffe", "audience": self._audience}
        if self._renewed.expires_at is not None:
            found["subject"] = _plain(self._claims["sub"])
        return found | self._renewed.about()

    async def close(self) -> None:
        await self._renewed.close()

    async def _fetch(self) -> Fresh:
        token = _token(await _ask(self._socket, messages.jwt_request(self._audience, self._spiffe_id)))
        claims = read_claims(token)
        if not is_token(token) or claims is None:
            raise Trouble(Reason.API_JWT_MISSING, "the Workload API gave something that is no JWT-SVID")
        # One that is not issued yet tells of a clock that is behind: it lasts no longer for that.
        left = claims["exp"] - max(self._wall(), _issued(claims))
        if left <= 0:
            raise Trouble(Reason.CLOCK_SKEWED, f"a JWT-SVID arrived that ran out {-left:.0f} s ago")
        self._claims = claims
        return Fresh(token, lifetime=left)


def read_claims(token: str) -> dict[str, Any] | None:
    """The claims of a JWT, unverified; None: they cannot be read, or lack `sub` and an expiry."""
    try:
        _, body, _ = token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        good = isinstance(claims["sub"], str) and _seconds(claims["exp"]) is not None
    except (ValueError, binascii.Error, RecursionError, KeyError, TypeError):
        return None
    return claims if good else None


def _issued(claims: dict[str, Any]) -> float:
    """The standard lets it be left out."""
    found = _seconds(claims.get("iat"))
    return -math.inf if found is None else found


def _seconds(claim: object) -> float | None:
    return None if isinstance(claim, str) else numbers.moment(claim)


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


async def _ask(socket: str, request: bytes) -> bytes:
    """Raises Trouble. The identity loop reports the details of trouble with the Workload API."""
    dial = workload_api.at(socket)
    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            return await grpc_client.unary(dial, workload_api.FETCH_JWT, request, workload_api.HEADERS)
    except grpc_client.Failed as error:
        said = str(error).split("\n")[0]
    except TimeoutError:
        said = f"DEADLINE_EXCEEDED: no answer within {ANSWER_WITHIN:g} s"
    except OSError as error:
        said = f"UNAVAILABLE: cannot connect to {socket}: {error.strerror or error}"
    raise Trouble(Reason.API_JWT_MISSING, said)


def _token(answer: bytes) -> str:
    """The first, as the standard has it; "" where there is none."""
    try:
        svids = messages.jwt_svids(answer)
    except ValueError:
        return ""
    return svids[0].svid if svids else ""
