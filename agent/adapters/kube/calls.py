"""One HTTPS call to the API server, and what each failure of it means."""

import asyncio
import email.utils
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager

import aiohttp

from agent.adapters.kube import json_values, tls
from agent.adapters.kube.access import Credential
from agent.adapters.kube.json_values import Json
from agent.core.reasons import Reason
from agent.ports import Trouble

MOST_BYTES = 4 * 1024 * 1024  # of one answer, or one line of a watch; etcd takes 1.5 MiB
MOST_DETAIL = 1000  # characters of what the server said
MERGE_PATCH = "application/merge-patch+json"
# A watch rests for minutes. Without these a peer that vanished (a failed-over load balancer, a dropped NAT
# entry) would be noticed only when the watch's own time is over.
KEEPALIVE = {socket.TCP_KEEPIDLE: 20, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 4}


class Caller:
    """`credential`: asked at each call, because its value is rotated."""

    def __init__(self, credential: Credential, user_agent: str, timeout: float, rest: float) -> None:
        """`timeout`: seconds for one call. `rest`: seconds for which an answer that has begun may be silent."""
        self._credential, self._tls = credential, tls.Contexts()
        self._server = "the API server"  # what troubles call it
        self._user_agent, self._timeout, self._rest = user_agent, timeout, rest
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        await self._credential.close()
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(
        self,
        method: str,
        path: str,
        missing: Reason,
        body: Json | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Json:
        with self.as_trouble():
            async with (
                asyncio.timeout(self._timeout),
                self.answer(method, path, body=body, query=query) as response,
            ):
                await self.refuse(response, missing)
                return json_values.object(await _capped(response.content))

    @asynccontextmanager
    async def answer(
        self, method: str, path: str, *, body: Json | None = None, query: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer as soon as its head is there. Its body may rest for as long as a watch may."""
        access = await self._credential.access()
        if not access.server.startswith("https://"):
            raise ValueError(f"cannot use API server {access.server}: it is not https")
        self._server = access.server
        headers = {"Accept": "application/json"}
        if access.token:
            headers["Authorization"] = f"Bearer {access.token}"
        if body is not None:
            headers["Content-Type"] = MERGE_PATCH if method == "PATCH" else "application/json"
        patience = aiohttp.ClientTimeout(total=None, sock_read=self._rest)
        async with asyncio.timeout(self._timeout):
            response = await self._open().request(
                method,
                access.server + path,
                params=query,
                data=None if body is None else json.dumps(body).encode(),
                headers=headers,
                ssl=self._tls.context(access),
                server_hostname=access.server_name or None,
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
                connector=aiohttp.TCPConnector(socket_factory=keepalive_socket, limit=8),
                headers={"User-Agent": self._user_agent, "Accept-Encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    # what goes wrong ----------------------------------------------------------------------------

    async def refuse(self, response: aiohttp.ClientResponse, missing: Reason) -> None:
        """Raise Trouble unless the answer is a 2xx."""
        if not 200 <= response.status < 300:
            async with asyncio.timeout(self._timeout):
                text = await _capped(response.content)
            retry_after = _retry_after(response.headers)
            message = hidden(_said(text, response.status), response)
            if response.status == 401:
                fault = self._credential.refused(message)
                raise Trouble(fault.reason, fault.detail, retry_after)
            remedy = _missing_right(response) if response.status == 403 else ""
            raise Trouble(_reason(response.status, missing, text), message, retry_after, remedy)

    @contextmanager
    def as_trouble(self) -> Iterator[None]:
        """Which failures of aiohttp are expected, and what they mean; the order goes from narrow to wide."""
        try:
            yield
        except TimeoutError as error:
            raise Trouble(Reason.API_TIMEOUT, f"no answer from {self._server}") from error
        except aiohttp.ClientSSLError as error:
            raise Trouble(tls.reason(error), f"cannot trust {self._server}: {_cause(error)}") from error
        except (aiohttp.InvalidURL, UnicodeError) as error:
            raise Trouble(
                Reason.API_UNREACHABLE, f"cannot reach {self._server}: it is not a name or an address"
            ) from error
        except (aiohttp.ClientPayloadError, aiohttp.ClientResponseError) as error:
            raise Trouble(Reason.API_FAILING, f"{self._server} broke off its answer") from error
        except (aiohttp.ClientConnectionError, OSError) as error:
            raise Trouble(Reason.API_UNREACHABLE, f"cannot reach {self._server}: {_cause(error)}") from error


_VERBS = {"GET": "get", "PATCH": "patch", "POST": "create"}
# The file that gives a right, where it is not host.yaml.
_RIGHTS = {"configmaps": "anchors.yaml", "serviceaccounts/token": "token.yaml"}


def _missing_right(response: aiohttp.ClientResponse) -> str:
    """What to allow, and the file that does it: by what was asked, for a server words its refusal as it likes."""
    namespace, resource, *rest = response.url.path.partition("/namespaces/")[2].split("/")
    what = "/".join((resource, *rest[1:]))
    verb = _VERBS[response.method]
    if not rest and verb == "get":
        verb = "watch" if "watch" in response.url.query else "list"
    file = _RIGHTS.get(what, "host.yaml")
    return f"allow {verb} of {what} in the namespace {namespace}, as config/cluster/{file} does"


def _reason(status: int, missing: Reason, text: bytes) -> Reason:
    match status:
        case 403:
            return Reason.API_FORBIDDEN
        case 404 if missing is Reason.WORKLOAD_MISSING and not _is_status(text):
            return Reason.WORKLOAD_KIND_ABSENT
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


def hidden(said: str, response: aiohttp.ClientResponse) -> str:
    """Without the token of that call: a proxy before the server may show the request in its error."""
    token = response.request_info.headers.get("Authorization", "").removeprefix("Bearer ")
    return said.replace(token, "(the token)") if token else said


def _is_status(text: bytes) -> bool:
    """The server knows the kind and misses the object. A path that it does not serve it names in plain text."""
    try:
        return bool(json.loads(text)["kind"] == "Status")
    except (ValueError, RecursionError, KeyError, TypeError):
        return False


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


# bytes --------------------------------------------------------------------------------------------


def keepalive_socket(info: aiohttp.AddrInfoType) -> socket.socket:
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


async def lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    rest = b""
    async for part in content.iter_any():
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield line
        if len(rest) > MOST_BYTES:
            raise Trouble(Reason.API_FAILING, f"a watch event of more than {MOST_BYTES} bytes")
