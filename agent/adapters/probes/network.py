"""What every probe over the network has in common, and the one that only connects.

The probe dials the workload's own address: a local connection to the host's own address never meets the
inbound redirect (design: kernel 11), and an application that listens on loopback only must not pass.
"""

import asyncio
import errno
import os
import ssl
from collections.abc import Awaitable, Callable

from agent.core.probe import Attempt, ProbeSpec

USER_AGENT = "fairlead-probe"

# What this process or this host has expired of. It says nothing about the application.
OURS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN, errno.EADDRNOTAVAIL}


async def bounded(spec: ProbeSpec, attempt: Callable[[ProbeSpec], Awaitable[Attempt]]) -> Attempt:
    try:
        async with asyncio.timeout(spec.timeout):
            return await attempt(spec)
    except TimeoutError:
        return Attempt(False, f"no answer within {spec.timeout:g} s")
    except OSError as error:
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


def refused(spec: ProbeSpec) -> str:
    return f"nothing listens on {spec.host} port {spec.port} (loopback alone does not count)"


def _explain(spec: ProbeSpec, error: OSError) -> Attempt:
    if isinstance(error, ssl.SSLError):  # its number is OpenSSL's, not the kernel's
        return Attempt(False, f"TLS with {spec.host} port {spec.port} fails: {error}")
    number = error.errno
    if number in OURS:
        return Attempt(None, f"cannot try: {os.strerror(number)}")
    if number == errno.ECONNREFUSED:
        return Attempt(False, refused(spec))
    if number is not None:
        return Attempt(False, f"{spec.host} port {spec.port}: {os.strerror(number)}")
    return Attempt(False, f"{spec.host} port {spec.port}: {error or 'it closed the connection'}")
