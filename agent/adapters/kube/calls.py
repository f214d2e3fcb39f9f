"""One HTTPS call to the API server, and what each failure of it means."""

import asyncio
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from agent.adapters import http_client
from agent.adapters.http_client import Connection, Request, Server
from agent.adapters.kube import json_values, tls
from agent.adapters.kube.access import Access, Credential
from agent.adapters.kube.json_values import Json
from agent.core.reasons import Reason
from agent.ports import Trouble

MOST_BYTES = 4 * 1024 * 1024  # of one answer, or one line of a watch; etcd takes 1.5 MiB
MOST_DETAIL = 1000  # characters of what the server said
MERGE_PATCH = "application/merge-patch+json"
# A watch rests for minutes. Without these a peer that vanished (a failed-over load balancer, a dropped NAT
# entry) would be noticed only when the watch's own time is over.
KEEPALIVE = {socket.TCP_KEEPIDLE: 20, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 4}


class TooLong(Trouble):
    """An answer of more than MOST_BYTES: ask for less at once."""


class NoAddress(Exception):
    """The server's URL has no host and port."""


@dataclass(frozen=True)
class Response:
    """An answer, and what was asked. `rest`: seconds for which its body may be silent. `token`: of this call."""

    answer: http_client.Answer
    method: str
    path: str
    watch: bool
    rest: float
    token: str = field(repr=False)

    @property
    def status(self) -> int:
        return self.answer.status

    def content(self) -> AsyncIterator[bytes]:
        return self.answer.chunks(self.rest)


# The verb of a request, and the code of its answer; None: there was none.
Counted = Callable[[str, int | None], None]


def _uncounted(_verb: str, _code: int | None) -> None:
    return


class Caller:
    """`credential`: asked at each call, because its value is rotated."""

    def __init__(
        self,
        credential: Credential,
        user_agent: str,
        timeout: float,
        rest: float,
        rights: str = "host.yaml",
        counted: Counted | None = None,
    ) -> None:
        """`timeout`: seconds for one call. `rest`: seconds for which a begun answer may be silent. `rights`: the
        file below config/cluster that gives what this program needs. `counted`: gets each request."""
        self._credential, self._tls = credential, tls.Contexts()
        self._server = "the API server"  # what troubles call it
        self._user_agent, self._timeout, self._rest, self._rights = user_agent, timeout, rest, rights
        self._kept: list[tuple[Server, Connection]] = []  # they rest
        self._counted = counted or _uncounted

    async def close(self) -> None:
        await self._credential.close()
        while self._kept:
            self._kept.pop()[1].abort()

    async def call(
        self,
        method: str,
        path: str,
        missing: Reason,
        body: Json | None = None,
        query: Mapping[str, str] | None = None,
        content: str = "",
    ) -> Json:
        """`content`: type of the body, where it is not the usual one."""
        with self.as_trouble():
            async with (
                asyncio.timeout(self._timeout),
                self.answer(method, path, body=body, query=query, content=content) as response,
            ):
                await self.refuse(response, missing)
                return json_values.object(await _capped(response.content()))

    @asynccontextmanager
    async def answer(
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,
        query: Mapping[str, str] | None = None,
        content: str = "",
    ) -> AsyncIterator[Response]:
        """The answer as soon as its head is there. Its body may rest for as long as a watch may."""
        access = await self._credential.access()
        if not access.server.startswith("https://"):
            raise ValueError(f"cannot use API server {access.server}: it is not https")
        self._server = access.server
        server, request = self._request(access, method, path, body, query, content)
        verb, code = "WATCH" if "watch" in (query or {}) else method, None
        try:
            async with asyncio.timeout(self._timeout):
                connection, answer = await self._send(server, request)
            code = answer.status
        finally:
            self._counted(verb, code)
        try:
            yield Response(answer, method, path, "watch" in (query or {}), self._rest, access.token)
        finally:
            self._leave(server, connection)

    def _request(
        self,
        access: Access,
        method: str,
        path: str,
        body: Json | None,
        query: Mapping[str, str] | None,
        content: str,
    ) -> tuple[Server, Request]:
        try:
            url = urlsplit(access.server)
            host, port = url.hostname or "", url.port or 443
        except ValueError as error:
            raise NoAddress(str(error)) from None
        server = Server(host, port, self._tls.context(access), access.server_name, KEEPALIVE)
        headers = {
            "Host": url.netloc.rpartition("@")[2],
            "User-Agent": self._user_agent,
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        if access.token:
            headers["Authorization"] = f"Bearer {access.token}"
        if body is not None:
            headers["Content-Type"] = content or (MERGE_PATCH if method == "PATCH" else "application/json")
        target = url.path.rstrip("/") + path + (f"?{urlencode(query)}" if query else "")
        return server, Request(method, target, headers, b"" if body is None else json.dumps(body).encode())

    async def _send(self, server: Server, request: Request) -> tuple[Connection, http_client.Answer]:
        """On a connection that rests, or another one. A server may end one that rests just when it is used: then
        what only reads is asked again."""
        connection = self._take(server) or await tls.connect(server)
        try:
            return connection, await connection.send(request)
        except (http_client.Disconnected, ConnectionError):
            connection.abort()
            if not connection.used or request.method != "GET":
                raise
        except BaseException:
            connection.abort()
            raise
        connection = await tls.connect(server)
        try:
            return connection, await connection.send(request)
        except BaseException:
            connection.abort()
            raise

    def _take(self, server: Server) -> Connection | None:
        """The newest that serves; all others that do not are closed."""
        now = asyncio.get_running_loop().time()
        resting, self._kept = self._kept, []
        found = None
        for other, connection in resting:
            if other != server or not connection.serves(now):
                connection.abort()
            elif found is None:
                found = connection
            else:
                self._kept.append((other, connection))
        return found

    def _leave(self, server: Server, connection: Connection) -> None:
        if connection.rest(asyncio.get_running_loop().time()):
            self._kept.append((server, connection))
        else:  # not read to its end, so of no further use
            connection.abort()

    # what goes wrong ----------------------------------------------------------------------------

    async def refuse(self, response: Response, missing: Reason) -> None:
        """Raise Trouble unless the answer is a 2xx."""
        if not 200 <= response.status < 300:
            async with asyncio.timeout(self._timeout):
                text = await _capped(response.content())
            retry_after = _retry_after(response.answer.headers)
            message = hidden(_said(text, response.status), response)
            if response.status == 401:
                fault = self._credential.refused(message)
                raise Trouble(fault.reason, fault.detail, retry_after)
            remedy = _missing_right(response, self._rights) if response.status == 403 else ""
            raise Trouble(_reason(response.status, missing, text), message, retry_after, remedy)

    @contextmanager
    def as_trouble(self) -> Iterator[None]:
        """Which failures are expected, and what they mean; the order goes from narrow to wide."""
        try:
            yield
        except TimeoutError as error:
            raise Trouble(Reason.API_TIMEOUT, f"no answer from {self._server}") from error
        except tls.Untrusted as error:
            raise Trouble(
                tls.reason(error.cause), f"cannot trust {self._server}: {_cause(error.cause)}"
            ) from error
        except (NoAddress, UnicodeError) as error:
            raise Trouble(
                Reason.API_UNREACHABLE, f"cannot reach {self._server}: it is not a name or an address"
            ) from error
        except http_client.Broken as error:
            raise Trouble(Reason.API_FAILING, f"{self._server} broke off its answer") from error
        except OSError as error:
            raise Trouble(Reason.API_UNREACHABLE, f"cannot reach {self._server}: {_cause(error)}") from error


_VERBS = {"GET": "get", "PATCH": "patch", "POST": "create", "DELETE": "delete"}
# The file that gives a right, where it is not the program's own.
_RIGHTS = {"configmaps": "anchors.yaml", "serviceaccounts/token": "token.yaml"}


def _missing_right(response: Response, rights: str) -> str:
    """What to allow, and the file that does it: by what was asked, for a server words its refusal as it likes."""
    _, namespaced, path = response.path.partition("/namespaces/")
    namespace, resource, *rest = path.split("/") if namespaced else ("", response.path.rpartition("/")[2])
    what = "/".join((resource, *rest[1:]))
    verb = _VERBS[response.method]
    if not rest and verb == "get":
        verb = "watch" if response.watch else "list"
    where = f"in the namespace {namespace}" if namespaced else "in all namespaces"
    return f"allow {verb} of {what} {where}, as config/cluster/{_RIGHTS.get(what, rights)} does"


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
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    import email.utils  # few servers name a date

    try:
        then, now = (email.utils.parsedate_to_datetime(t) for t in (text, headers.get("date", "")))
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


def hidden(said: str, response: Response) -> str:
    """Without the token of that call: a proxy before the server may show the request in its error."""
    return said.replace(response.token, "(the token)") if response.token else said


def _is_status(text: bytes) -> bool:
    """The server knows the kind and misses the object. A path that it does not serve it names in plain text."""
    try:
        return bool(json.loads(text)["kind"] == "Status")
    except (ValueError, RecursionError, KeyError, TypeError):
        return False


def _cause(error: OSError) -> str:
    """Without addresses of objects and attempts, so that the same trouble reads the same."""
    match error:
        case ssl.SSLCertVerificationError():
            return error.verify_message or str(error)
        case ssl.SSLError():
            return error.reason or str(error)
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number)
        case _:
            return error.strerror or str(error) or type(error).__name__


# bytes --------------------------------------------------------------------------------------------


async def _capped(content: AsyncIterator[bytes]) -> bytes:
    parts, size = [], 0
    async for part in content:
        parts.append(part)
        if (size := size + len(part)) > MOST_BYTES:
            raise TooLong(Reason.API_FAILING, f"an answer of more than {MOST_BYTES} bytes")
    return b"".join(parts)


async def lines(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    rest = b""
    async for part in content:
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield line
        if len(rest) > MOST_BYTES:
            raise Trouble(Reason.API_FAILING, f"a watch event of more than {MOST_BYTES} bytes")
