"""HTTP and HTTPS, asked and judged as kubelet does.

h11 reads the answer, and no further than its end: what a server sends after that is not looked at. HTTPS is not
verified, as in kubelet: the certificate is for the application's clients, and is rarely issued for an address.
"""

import asyncio
import functools
import ssl
from dataclasses import dataclass

import h11

from agent.adapters.probes.answer import HEAD_CAP, Answer, Broken, Inbox, Reader
from agent.adapters.probes.network import USER_AGENT
from agent.core.addresses import comparable
from agent.core.probe import Attempt, ProbeSpec

REQUESTS = 10
# Go leaves these to its own judgement, whatever headers it is given.
FRAMING = frozenset({"content-length", "transfer-encoding", "trailer"})


@dataclass(frozen=True)
class Place:
    """What is asked next. `target`: path and query, as they were written. `shown`: the URL, for people."""

    scheme: str
    host: str
    port: int
    target: str
    shown: str = ""


async def http(spec: ProbeSpec) -> Attempt:
    """One GET, on a connection of its own, and one more for each redirect on the same host."""
    place = Place(spec.scheme, spec.host, spec.port, target(spec.path))
    for count in range(REQUESTS):
        where = f" from {place.shown}" if count else ""
        try:
            answer = await _get(spec, place)
        except Broken as broken:
            return Attempt(False, f"{place.host} port {place.port}: {broken}{where}")
        if answer.location is None:
            return Attempt(200 <= answer.status < 400, f"HTTP {answer.status}{where}")
        onward = _onward(place, answer.location)
        if onward is not None and comparable(onward.host) != comparable(place.host):
            return Attempt(True, f"HTTP {answer.status}{where} to another host, which is not asked")
        if onward is None or onward.scheme not in ("http", "https") or not onward.port:
            return Attempt(
                False, f"HTTP {answer.status}{where} to {answer.location!r}, where nothing can be asked"
            )
        place = onward
    return Attempt(False, f"more than {REQUESTS} redirects")


def target(path: str) -> str:
    """Without the fragment. It may begin with //, and names no host then."""
    path, _, query = path.partition("#")[0].partition("?")
    return (path or "/") + (f"?{query}" if query else "")


def _onward(place: Place, location: str) -> Place | None:
    """None: it is no URL."""
    import yarl  # 1 MiB, which a probe that is not redirected does without

    path, _, query = place.target.partition("?")
    here = yarl.URL.build(
        scheme=place.scheme, host=place.host, port=place.port, path=path, query_string=query, encoded=True
    )
    try:
        url = here.join(yarl.URL(location))
    except ValueError:
        return None
    shown = str(url.with_user(None)) if url.absolute else ""
    return Place(url.scheme, url.host or "", url.port or 0, url.raw_path_qs, shown)


# one request --------------------------------------------------------------------------------------


async def _get(spec: ProbeSpec, place: Place) -> Answer:
    """Raises Broken, OSError."""
    ours = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_CAP)
    context = _unverified() if place.scheme == "https" else None
    transport, inbox = await asyncio.get_running_loop().create_connection(
        Inbox, place.host, place.port, ssl=context
    )
    try:
        for event in (_request(spec, place), h11.EndOfMessage()):
            transport.write(ours.send(event) or b"")
        return await Reader(ours, inbox).answer()
    finally:
        transport.abort()  # no lingering half-close: the verdict is in


def _request(spec: ProbeSpec, place: Place) -> h11.Request:
    given = [(name, value.strip()) for name, value in spec.headers if name.lower() not in FRAMING]
    named = {name.lower() for name, _ in given}
    host = f"[{place.host}]" if ":" in place.host else place.host
    usual = {
        "Host": f"{host}:{place.port}",
        "User-Agent": USER_AGENT,
        "Accept": "*/*",
        "Connection": "close",
    }
    headers = [*((name, value) for name, value in usual.items() if name.lower() not in named), *given]
    return h11.Request(method="GET", target=place.target, headers=headers)


@functools.cache
def _unverified() -> ssl.SSLContext:
    """As lenient as Go's client: old ciphers, no secure renegotiation, an end without a farewell."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF | 0x4  # SSL_OP_LEGACY_SERVER_CONNECT, named from 3.12 on
    context.set_ciphers("DEFAULT:@SECLEVEL=1")
    return context
