"""HTTP, HTTPS and TCP.

The probe dials the workload's own address: a local connection to the host's own address never meets the
inbound redirect (design: kernel 11), and an application that listens on loopback only must not pass.
"""

import asyncio
import errno
import os
import ssl
from collections.abc import Awaitable, Callable

import aiohttp
import yarl

from agent.core.probe import Attempt, ProbeSpec

BODY_CAP = 10 * 1024
REDIRECTS = 10
USER_AGENT = "fairlead-probe"

# What this process or this host has run out of. It says nothing about the application.
OURS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN, errno.EADDRNOTAVAIL}


async def bounded(spec: ProbeSpec, attempt: Callable[[ProbeSpec], Awaitable[Attempt]]) -> Attempt:
    try:
        async with asyncio.timeout(spec.timeout):
            return await attempt(spec)
    except TimeoutError:
        return Attempt(False, f"no answer within {spec.timeout:g} s")
    except (OSError, aiohttp.ClientError) as error:
        return _explain(spec, error)


# A greeting of a server on this host takes a few milliseconds; the verdict waits no longer for one.
GREETS_WITHIN = 0.1


async def tcp(spec: ProbeSpec) -> Attempt:
    reader, writer = await asyncio.open_connection(spec.host, spec.port)
    try:
        async with asyncio.timeout(min(GREETS_WITHIN, spec.timeout / 2)):
            greeting = await reader.read(1)
    except (TimeoutError, OSError):  # it was connected: how the server ends that is no verdict
        greeting = b""
    finally:
        writer.transport.abort()  # no lingering half-close: the verdict is in
    return Attempt(True, "connected; the server speaks first" if greeting else "connected")


async def http(spec: ProbeSpec) -> Attempt:
    """One GET, on a connection of its own. HTTPS is not verified, as kubelet's is not: the certificate is the
    application's affair with its clients, and is rarely made out to an address."""
    url = yarl.URL.build(scheme=spec.scheme, host=spec.host, port=spec.port).join(yarl.URL(spec.path))
    async with _session(spec) as session:
        for _ in range(REDIRECTS):
            async with session.get(url, allow_redirects=False) as answer:
                await _read_body(answer)
                location = answer.headers.get("Location")
                if location is None or not 300 <= answer.status < 400:
                    return Attempt(200 <= answer.status < 400, f"HTTP {answer.status}")
            try:
                onward = url.join(yarl.URL(location))
            except ValueError:
                return Attempt(False, f"HTTP {answer.status} to {location!r}, which is no place to go")
            if onward.host != url.host:  # an answer; it is not followed
                return Attempt(True, f"HTTP {answer.status}")
            url = onward
    return Attempt(False, f"more than {REDIRECTS} redirects")


def _session(spec: ProbeSpec) -> aiohttp.ClientSession:
    named = any(name.lower() == "user-agent" for name, _ in spec.headers)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True, ssl=False),
        headers=spec.headers if named else [("User-Agent", USER_AGENT), *spec.headers],
        # A small answer packed could be a huge one unpacked, and nobody reads it.
        skip_auto_headers=["Accept-Encoding"],
        auto_decompress=False,
    )


async def _read_body(answer: aiohttp.ClientResponse) -> None:
    """A body that breaks off is no answer; one that never ends is enough after a while."""
    read = 0
    async for chunk in answer.content.iter_any():
        read += len(chunk)
        if read >= BODY_CAP:
            return


def refused(spec: ProbeSpec) -> str:
    return f"nothing listens on {spec.host} port {spec.port} (loopback alone does not count)"


def _explain(spec: ProbeSpec, error: OSError | aiohttp.ClientError) -> Attempt:
    if isinstance(error, ssl.SSLError | aiohttp.ClientSSLError):  # its number is OpenSSL's, not the kernel's
        return Attempt(False, f"TLS with {spec.host} port {spec.port} fails: {error}")
    number = error.errno if isinstance(error, OSError) else None
    if number in OURS:
        return Attempt(None, f"cannot try: {os.strerror(number)}")
    if number == errno.ECONNREFUSED:
        return Attempt(False, refused(spec))
    if number is not None:
        return Attempt(False, f"{spec.host} port {spec.port}: {os.strerror(number)}")
    return Attempt(False, str(error) or type(error).__name__)
