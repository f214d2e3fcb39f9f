"""StatusApi on aiohttp: the five REST calls that a host makes, and nothing else of Kubernetes.

Law: https only, verified against the configured CA alone; every call is bounded in time and size; the token
stands in no log and no error. Whatever goes wrong outside becomes a Trouble; missing fields are "" or ().
"""

import asyncio
import email.utils
import json
import os
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from agent.core.facts import Condition, Workload
from agent.core.reasons import Reason
from agent.ports import Lease, Trouble

Json = dict[str, Any]

MOST_BYTES = 4 * 1024 * 1024  # of one answer, or one line of a watch; etcd takes 1.5 MiB
MOST_DETAIL = 1000  # characters of what the server said
MERGE_PATCH = "application/merge-patch+json"
# A watch rests for minutes. Without these a peer that vanished (a failed-over load balancer, a dropped NAT
# entry) would be noticed only when the watch's own time is over.
KEEPALIVE = {socket.TCP_KEEPIDLE: 20, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 4}
_FIELDS = {
    "type": "type",
    "status": "status",
    "reason": "reason",
    "message": "message",
    "last_transition_time": "lastTransitionTime",
    "last_probe_time": "lastProbeTime",
}


class KubeApi:
    """`server`: https://host:port. `ca_file`, `token_file`: read anew at each call, for both are rotated
    beneath us. `timeout`: seconds for one call. `watch_seconds`: after so long the server ends a watch."""

    def __init__(
        self,
        *,
        server: str,
        ca_file: str,
        token_file: str,
        namespace: str,
        name: str,
        user_agent: str = "fairlead",
        timeout: float = 4.0,
        watch_seconds: int = 300,
    ) -> None:
        if not server.startswith("https://"):
            raise ValueError(f"cannot use API server {server}: it is not https")
        self._server = server.rstrip("/")
        self._ca = _TrustStore(Path(ca_file))
        self._token_file = Path(token_file)
        self._timeout, self._watch_seconds = timeout, watch_seconds
        self._name, self._user_agent = name, user_agent
        self._workloads = f"/apis/workload.linkerd.io/v1beta1/namespaces/{namespace}/externalworkloads"
        self._lease = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}"
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    # the port -----------------------------------------------------------------------------------

    async def read(self) -> Workload:
        return _workload(await self._call("GET", f"{self._workloads}/{self._name}", Reason.WORKLOAD_MISSING))

    async def patch_conditions(self, workload: Workload, conditions: Sequence[Condition]) -> Workload:
        """The version is the guard: kube-apiserver ignores a uid that is sent to /status, but a recreated
        object never has the version of the old one."""
        guard = {"uid": workload.uid, "resourceVersion": workload.resource_version}
        body = {"metadata": guard, "status": {"conditions": [_condition_json(c) for c in conditions]}}
        path = f"{self._workloads}/{self._name}/status"
        return _workload(await self._call("PATCH", path, Reason.WORKLOAD_MISSING, body))

    async def read_lease(self) -> Lease:
        return _lease(await self._call("GET", self._lease, Reason.LEASE_MISSING))

    async def renew_lease(self, lease: Lease) -> Lease:
        spec = {
            "holderIdentity": lease.holder,
            "renewTime": lease.renew_time,
            "leaseDurationSeconds": lease.duration,
        }
        body = {"metadata": {"annotations": dict(lease.annotations)}, "spec": spec}
        return _lease(await self._call("PATCH", self._lease, Reason.LEASE_MISSING, body))

    async def watch(self, resource_version: str) -> AsyncGenerator[Workload | None, None]:
        query = {
            "watch": "1",
            "fieldSelector": f"metadata.name={self._name}",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(self._watch_seconds),
        }
        with self._as_trouble():
            async with self._answer("GET", self._workloads, query=query) as response:
                if response.status == 410:
                    return
                await self._refuse(response, Reason.WORKLOAD_MISSING)
                async for line in _lines(response.content):
                    event = _object(line)
                    body = _part(event, "object")
                    match event.get("type"):
                        case "ADDED" | "MODIFIED":
                            yield _workload(body)
                        case "DELETED":
                            yield None
                        case "ERROR" if body.get("code") == 410:
                            return
                        case "ERROR":
                            raise Trouble(Reason.API_FAILING, f"the watch ended: {_text(body, 'message')}")

    # one call -----------------------------------------------------------------------------------

    async def _call(self, method: str, path: str, missing: Reason, body: Json | None = None) -> Json:
        with self._as_trouble():
            async with asyncio.timeout(self._timeout), self._answer(method, path, body=body) as response:
                await self._refuse(response, missing)
                return _object(await _capped(response.content))

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, *, body: Json | None = None, query: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer as soon as its head is there. Its body may rest for as long as a watch may."""
        headers = {"Authorization": f"Bearer {self._token()}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = MERGE_PATCH
        patience = aiohttp.ClientTimeout(total=None, sock_read=self._watch_seconds + self._timeout)
        async with asyncio.timeout(self._timeout):
            response = await self._open().request(
                method,
                self._server + path,
                params=query,
                data=None if body is None else json.dumps(body).encode(),
                headers=headers,
                ssl=self._ca.context(),
                timeout=patience,
                allow_redirects=False,  # the token is for this server only
            )
        async with response:
            try:
                yield response
            finally:
                if response.connection is not None and response.connection.transport is not None:
                    # Not read to its end, so of no further use. A TLS good-bye would wait for the peer.
                    response.connection.transport.abort()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(socket_factory=_socket, limit=8),
                headers={"User-Agent": self._user_agent, "Accept-Encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    def _token(self) -> str:
        token = _contents(self._token_file, "token").decode(errors="replace").strip()
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise _unreadable("token", self._token_file, "it holds no token")
        return token

    # what goes wrong ----------------------------------------------------------------------------

    async def _refuse(self, response: aiohttp.ClientResponse, missing: Reason) -> None:
        """Raise Trouble unless the answer is a 2xx."""
        if not 200 <= response.status < 300:
            async with asyncio.timeout(self._timeout):
                text = await _capped(response.content)
            retry_after = _retry_after(response.headers)
            raise Trouble(_reason(response.status, missing), _said(text, response.status), retry_after)

    @contextmanager
    def _as_trouble(self) -> Iterator[None]:
        """Which failures of aiohttp are expected, and what they mean; the order goes from narrow to wide."""
        try:
            yield
        except TimeoutError as error:
            raise Trouble(Reason.API_TIMEOUT, f"no answer from {self._server}") from error
        except aiohttp.ClientSSLError as error:
            raise Trouble(Reason.API_UNVERIFIED, f"cannot trust {self._server}: {_cause(error)}") from error
        except (aiohttp.ClientPayloadError, aiohttp.ClientResponseError) as error:
            raise Trouble(Reason.API_FAILING, f"{self._server} broke off its answer") from error
        except (aiohttp.ClientConnectionError, OSError) as error:
            raise Trouble(Reason.API_UNREACHABLE, f"cannot reach {self._server}: {_cause(error)}") from error


class _TrustStore:
    """The TLS context for the CA in a file; the same one for as long as the file says the same."""

    def __init__(self, path: Path) -> None:
        self._path, self._pem = path, b""
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        pem = _contents(self._path, "CA certificate")
        if self._context is None or pem != self._pem:
            self._context, self._pem = self._read(pem), pem
        return self._context

    def _read(self, pem: bytes) -> ssl.SSLContext:
        # Not create_default_context: on an empty file that one falls back to the system's trust.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an intermediate may be the anchor, as in Go
        try:
            context.load_verify_locations(cadata=pem.decode("ascii", "ignore"))
        except (ssl.SSLError, ValueError) as error:
            raise _unreadable("CA certificate", self._path, "it holds no PEM certificate") from error
        return context


def _contents(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(what, path, error.strerror or str(error)) from error


def _unreadable(what: str, path: Path, cause: str) -> Trouble:
    return Trouble(Reason.API_CREDENTIAL_UNREADABLE, f"cannot read {what} {path}: {cause}")


def _reason(status: int, missing: Reason) -> Reason:
    match status:
        case 401:
            return Reason.API_UNAUTHORIZED
        case 403:
            return Reason.API_FORBIDDEN
        case 404:
            return missing
        case 409:
            return Reason.API_CONFLICT
        case 429:
            return Reason.API_THROTTLED
        case _ if 400 <= status < 500:
            return Reason.API_REFUSED
        case _:
            return Reason.API_FAILING


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds. A date is measured against the answer's own Date, so this host's clock does not matter."""
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        then, now = (email.utils.parsedate_to_datetime(t) for t in (text, headers.get("Date", "")))
        return max(0.0, (then - now).total_seconds())
    except (ValueError, TypeError):
        return None


def _said(text: bytes, status: int) -> str:
    """The Status object's message, where there is one."""
    try:
        message = json.loads(text)["message"]
    except (ValueError, RecursionError, KeyError, TypeError):
        message = ""
    return str(message or f"HTTP {status}")[:MOST_DETAIL]


def _cause(error: OSError | aiohttp.ClientError) -> str:
    """Without addresses of objects and attempts, so that the same trouble reads the same."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            inner = error.certificate_error
            return getattr(inner, "verify_message", "") or str(inner)
        case aiohttp.ClientConnectorError():
            return _cause(error.os_error)
        case ssl.SSLError():
            return error.reason or str(error)
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number)
        case OSError():
            return error.strerror or str(error)
        case _:
            return str(error) or type(error).__name__


# bytes and JSON -----------------------------------------------------------------------------------


def _socket(info: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = info
    made = socket.socket(family=family, type=kind, proto=protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made


async def _capped(content: aiohttp.StreamReader) -> bytes:
    parts, size = [], 0
    async for part in content.iter_any():
        parts.append(part)
        if (size := size + len(part)) > MOST_BYTES:
            raise Trouble(Reason.API_FAILING, f"an answer of more than {MOST_BYTES} bytes")
    return b"".join(parts)


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    rest = b""
    async for part in content.iter_any():
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield line
        if len(rest) > MOST_BYTES:
            raise Trouble(Reason.API_FAILING, f"a watch event of more than {MOST_BYTES} bytes")


def _object(text: bytes) -> Json:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Trouble(Reason.API_FAILING, "an answer that is not JSON") from error
    if not isinstance(value, dict):
        raise Trouble(Reason.API_FAILING, "an answer that is not an object")
    return value


def _part(value: Json, key: str) -> Json:
    part = value.get(key)
    return part if isinstance(part, dict) else {}


def _parts(value: Json, key: str) -> list[Json]:
    parts = value.get(key)
    return [p for p in parts if isinstance(p, dict)] if isinstance(parts, list) else []


def _text(value: Json, key: str) -> str:
    text = value.get(key)
    return text if isinstance(text, str) else ""


def _workload(body: Json) -> Workload:
    meta, spec = _part(body, "metadata"), _part(body, "spec")
    ports = (entry.get("port") for entry in _parts(spec, "ports"))
    addresses = (_text(entry, "ip") for entry in _parts(spec, "workloadIPs"))
    return Workload(
        uid=_text(meta, "uid"),
        resource_version=_text(meta, "resourceVersion"),
        identity=_text(_part(spec, "meshTLS"), "identity"),
        server_name=_text(_part(spec, "meshTLS"), "serverName"),
        addresses=tuple(filter(None, addresses)),
        ports=tuple(p for p in ports if isinstance(p, int)),
        conditions=tuple(_condition(c) for c in _parts(_part(body, "status"), "conditions")),
    )


def _condition(entry: Json) -> Condition:
    return Condition(**{field: _text(entry, key) for field, key in _FIELDS.items()})


def _condition_json(condition: Condition) -> Json:
    """Without empty fields: the CRD refuses an empty reason or time."""
    return {key: value for field, key in _FIELDS.items() if (value := getattr(condition, field))}


def _lease(body: Json) -> Lease:
    spec, annotations = _part(body, "spec"), _part(_part(body, "metadata"), "annotations")
    duration = spec.get("leaseDurationSeconds")
    return Lease(
        holder=_text(spec, "holderIdentity"),
        renew_time=_text(spec, "renewTime"),
        duration=duration if isinstance(duration, int) else 0,
        annotations={k: v for k, v in annotations.items() if isinstance(v, str)},
    )
