"""A SPIFFE Workload API that really attests, issues and rotates: the sandbox's SPIRE agent."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from operator import methodcaller
from pathlib import Path
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf.message import Message

# The output of protoc for the standard's .proto. The `spiffe` package keeps it under a private name; to make
# our own would add a compiler to the build for the same bytes. Nothing else in fairlead imports it.
from spiffe._proto import workload_pb2 as proto

from agent.sandbox.identity.attestor import Attestor
from agent.sandbox.identity.ca import Authority, KeyType
from agent.sandbox.identity.jwt_authority import JwtAuthority, Refused
from agent.sandbox.identity.server import Server

_HEADER: Final = ("workload.spiffe.io", "true")  # SPIFFE Workload API standard, §4: against request forgery

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True)
class Entry:
    """One SVID that a user is to have."""

    spiffe_id: str
    hint: str = ""
    key_type: KeyType = "ec-p256"


class WorkloadApiServer(Server):
    """Serves X.509-SVIDs and bundles of `authority`, and JWT-SVIDs of `jwt`, at the unix socket `path` from
    `start` to `stop`.

    `entries`: uid → what it gets; a uid without entries is denied. `ttl`: seconds that an SVID lives; all are
    replaced at half of it and pushed on every open stream. `federated`: trust domain → its bundle (DER).

    For fault scenarios: `deny` refuses every caller; while `silence` is set, connections are accepted and never
    answered; `stop` removes the socket and ends every stream, `start` makes it again.
    """

    def __init__(
        self,
        path: Path,
        authority: Authority,
        entries: Mapping[int, tuple[Entry, ...]] | None = None,
        *,
        ttl: float = 60.0,
        federated: Mapping[str, bytes] | None = None,
        jwt: JwtAuthority | None = None,
        jwt_ttl: float = 300.0,
    ) -> None:
        self._path, self._authority, self._ttl = path, authority, ttl
        self.jwt, self.jwt_ttl = jwt or JwtAuthority(authority.trust_domain), jwt_ttl
        self.jwts_given = 0
        # Where gRPC listens: an abstract socket leaves no file behind, however this process ends.
        self.inner = f"fairlead-{secrets.token_hex(8)}"
        self._entries = dict(entries or {})
        self._federated = {f"spiffe://{domain}": der for domain, der in (federated or {}).items()}
        self._issued: dict[int, proto.X509SVIDResponse] = {}
        self._deny = False
        self._speaking = asyncio.Event()
        self._speaking.set()
        self._changed = asyncio.Event()
        self._calls: set[asyncio.Task[Any]] = set()

    # what it serves -----------------------------------------------------------------------------

    def register(self, uid: int, *entries: Entry) -> None:
        """From now on `uid` gets these SVIDs; none: it is denied, and its streams end."""
        self._entries[uid] = entries
        self._issued.pop(uid, None)
        self._ring()

    def add(self, uid: int, *entries: Entry) -> None:
        """`uid` gets these SVIDs too."""
        self.register(uid, *self._entries.get(uid, ()), *entries)

    def rotate(self) -> None:
        """Issue every SVID again, now."""
        self._issued.clear()
        self._ring()

    def rotate_jwt_keys(self) -> None:
        """Sign JWT-SVIDs with a new key, and push that to every stream."""
        self.jwt.rotate()
        self.rotate()

    @property
    def deny(self) -> bool:
        return self._deny

    @deny.setter
    def deny(self, value: bool) -> None:
        self._deny = value
        self._ring()

    @property
    def silence(self) -> bool:
        return not self._speaking.is_set()

    @silence.setter
    def silence(self, value: bool) -> None:
        if value:
            self._speaking.clear()
        else:
            self._speaking.set()

    def _ring(self) -> None:
        rung, self._changed = self._changed, asyncio.Event()
        rung.set()

    async def _rotate_for_ever(self) -> None:
        while True:
            self.rotate()
            await asyncio.sleep(self._ttl / 2)

    # life ---------------------------------------------------------------------------------------

    async def start(self) -> None:
        self._attestor = Attestor(self._path, self.inner, self._speaking)
        self._grpc = grpc.aio.server()
        self._grpc.add_generic_rpc_handlers((self._methods(),))
        self._grpc.add_insecure_port(f"unix-abstract:{self.inner}")
        await self._grpc.start()
        await self._attestor.start()
        self._rotation = asyncio.create_task(self._rotate_for_ever(), name="workload api: rotation")

    async def stop(self) -> None:
        self._rotation.cancel()
        await asyncio.gather(self._rotation, return_exceptions=True)
        await self._attestor.stop()
        await self._grpc.stop(None)  # cancels the calls, and does not wait for them
        await asyncio.gather(*self._calls, return_exceptions=True)

    # calls --------------------------------------------------------------------------------------

    def _methods(self) -> grpc.GenericRpcHandler:
        """gRPC answers all other methods with UNIMPLEMENTED."""
        served = {
            "FetchX509SVID": _serve(self._fetch_svids, proto.X509SVIDRequest),
            "FetchX509Bundles": _serve(self._fetch_bundles, proto.X509BundlesRequest),
            "FetchJWTSVID": _serve_one(self._fetch_jwts, proto.JWTSVIDRequest),
            "FetchJWTBundles": _serve(self._fetch_jwt_bundles, proto.JWTBundlesRequest),
            "ValidateJWTSVID": _serve_one(self._validate_jwt, proto.ValidateJWTSVIDRequest),
        }
        return grpc.method_handlers_generic_handler("SpiffeWorkloadAPI", served)

    async def _fetch_svids(self, request: Message, context: Context) -> AsyncIterator[Message]:
        async for uid in self._attested(context):
            yield self._svids(uid)

    async def _fetch_bundles(self, request: Message, context: Context) -> AsyncIterator[Message]:
        async for _ in self._attested(context):
            own = {f"spiffe://{self._authority.trust_domain}": self._authority.der}
            yield proto.X509BundlesResponse(bundles={**own, **self._federated})

    async def _fetch_jwts(self, request: proto.JWTSVIDRequest, context: Context) -> Message:
        await self._called(context)
        if not any(request.audience):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "audience must be specified")
        entries = self._entries.get(await self._entitled(context), ())
        mine = [entry for entry in entries if request.spiffe_id in ("", entry.spiffe_id)]
        if not mine:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
        self.jwts_given += 1
        signed = [(e, self.jwt.sign(e.spiffe_id, request.audience, self.jwt_ttl)) for e in mine]
        svids = [proto.JWTSVID(spiffe_id=e.spiffe_id, svid=token, hint=e.hint) for e, token in signed]
        return proto.JWTSVIDResponse(svids=svids)

    async def _fetch_jwt_bundles(self, request: Message, context: Context) -> AsyncIterator[Message]:
        async for _ in self._attested(context):
            keys = json.dumps(self.jwt.keys("jwt-svid")).encode()
            yield proto.JWTBundlesResponse(bundles={f"spiffe://{self._authority.trust_domain}": keys})

    async def _validate_jwt(self, request: proto.ValidateJWTSVIDRequest, context: Context) -> Message:
        await self._called(context)
        try:
            claims = self.jwt.check(request.svid, [request.audience])
        except Refused as refused:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(refused))
        answer = proto.ValidateJWTSVIDResponse(spiffe_id=claims["sub"])
        answer.claims.update(claims)
        return answer

    async def _called(self, context: Context) -> None:
        if _HEADER not in [tuple(pair) for pair in context.invocation_metadata() or ()]:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing from request")
        self._count_call()

    async def _entitled(self, context: Context) -> int:
        """The caller's uid; abort when it has nothing."""
        await self._speaking.wait()
        uid = self._attestor.uid(context.peer())
        if self._deny or uid is None or not self._entries.get(uid):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
        return uid

    async def _attested(self, context: Context) -> AsyncIterator[int]:
        """Yield the caller's uid now and whenever something has changed for it; abort when it has nothing."""
        await self._called(context)
        sent = None
        while True:
            changed = self._changed
            uid = await self._entitled(context)
            if self._svids(uid) is not sent:
                sent = self._svids(uid)
                yield uid
            await changed.wait()

    def _count_call(self) -> None:
        call = asyncio.current_task()
        assert call is not None
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    def _svids(self, uid: int) -> proto.X509SVIDResponse:
        """The same answer for the same user until a rotation or a change of its entries."""
        if uid not in self._issued:
            self._issued[uid] = proto.X509SVIDResponse(
                svids=[self._issue(entry) for entry in self._entries[uid]], federated_bundles=self._federated
            )
        return self._issued[uid]

    def _issue(self, entry: Entry) -> proto.X509SVID:
        made = self._authority.svid(entry.spiffe_id, self._ttl, key_type=entry.key_type)
        return proto.X509SVID(
            spiffe_id=entry.spiffe_id,
            x509_svid=made.cert_chain_der,
            x509_svid_key=made.key_pkcs8_der,
            bundle=self._authority.der,
            hint=entry.hint,
        )


def _serve_one(behaviour: Any, request: type[Message]) -> "grpc.RpcMethodHandler[Any, Any]":
    return grpc.unary_unary_rpc_method_handler(behaviour, request.FromString, methodcaller("SerializeToString"))


def _serve(behaviour: Any, request: type[Message]) -> "grpc.RpcMethodHandler[Any, Any]":
    return grpc.unary_stream_rpc_method_handler(behaviour, request.FromString, methodcaller("SerializeToString"))
