"""HTTP and HTTPS, asked and judged as kubelet does.

h11 reads the answer, and no further than its end: what a server sends after that is not looked at. HTTPS is not
verified, as in kubelet: the certificate is for the application's clients, and is rarely issued for an address.
"""

import asyncio
import functools
import ssl

import h11
import yarl

from agent.adapters.probes.answer import HEAD_CAP, Answer, Broken, Inbox, Reader
from agent.adapters.probes.network import USER_AGENT
from agent.core.addresses import comparable
from agent.core.probe import Attempt, ProbeSpec

REQUESTS = 10
# Go leaves these to its own judgement, whatever headers it is given.
FRAMING = frozenset({"content-length", "transfer-encoding", "trailer"})


async def http(spec: ProbeSpec) -> Attempt:
    """One GET, on a connection of its own, and one more for each redirect on the same host."""
    url = _first(spec)
    for count in range(REQUESTS):
        where = f" from {url.with_user(None)}" if count else ""
        try:
            answer = await _get(spec, url)
        except Broken as broken:
            return Attempt(False, f"{url.host} port {url.port}: {broken}{where}")
        if answer.location is None:
            return Attempt(200 <= answer.status < 400, f"HTTP {answer.status}{where}")
        onward = _onward(url, answer.location)
        if onward is not None and comparable(onward.host or "") != comparable(url.host or ""):
            return Attempt(True, f"HTTP {answer.status}{where} to another host, which is not asked")
        if onward is None or onward.scheme not in ("http", "https") or not onward.port:
            return Attempt(
                False, f"HTTP {answer.status}{where} to {answer.location!r}, where nothing can be asked"
            )
        url = onward
    return Attempt(False, f"more than {REQUESTS} redirects")


def _first(spec: ProbeSpec) -> yarl.URL:
    """The path may begin with //, and names no host then."""
    path = yarl.URL("http://host" + spec.path, encoded=True)
    return yarl.URL.build(
        scheme=spec.scheme,
        host=spec.host,
        port=spec.port,
        path=path.raw_path,
        query_string=path.raw_query_string,
        encoded=True,
    )


def _onward(url: yarl.URL, location: str) -> yarl.URL | None:
    """None: it is no URL."""
    try:
        return url.join(yarl.URL(location))
    except ValueError:
        return None


# one request --------------------------------------------------------------------------------------


async def _get(spec: ProbeSpec, url: yarl.URL) -> Answer:
    """Raises Broken, OSError."""
    ours = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_CAP)
    context = _unverified() if url.scheme == "https" else None
    transport, inbox = await asyncio.get_running_loop().create_connection(
        Inbox, url.host or "", url.port or 0, ssl=context
    )
    try:
        for event in (_request(spec, url), h11.EndOfMessage()):
            transport.write(ours.send(event) or b"")
        return await Reader(ours, inbox).answer()
    finally:
        transport.abort()  # no lingering half-close: the verdict is in


def _request(spec: ProbeSpec, url: yarl.URL) -> h11.Request:
    given = [(name, value.strip()) for name, value in spec.headers if name.lower() not in FRAMING]
    named = {name.lower() for name, _ in given}
    host = f"[{url.host}]" if ":" in (url.host or "") else url.host
    usual = {
        "Host": f"{host}:{url.port}",
        "User-Agent": USER_AGENT,
        "Accept": "*/*",
        "Connection": "close",
    }
    headers = [*((name, value) for name, value in usual.items() if name.lower() not in named), *given]
    return h11.Request(method="GET", target=url.raw_path_qs, headers=headers)


@functools.cache
def _unverified() -> ssl.SSLContext:
    """As lenient as Go's client: old ciphers, no secure renegotiation, an end without a farewell."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF | 0x4  # SSL_OP_LEGACY_SERVER_CONNECT, named from 3.12 on
    context.set_ciphers("DEFAULT:@SECLEVEL=1")
    return context
