"""Tries the local application over HTTP or TCP, as kubelet does.

The probe dials the workload's own address: a local connection to the host's own address never meets the
inbound redirect (design: kernel 11), and an application that listens on loopback only must not pass.
"""

import asyncio
import errno
import os

import aiohttp
import yarl

from agent.core.probe import Attempt, ProbeSpec

BODY_CAP = 10 * 1024
REDIRECTS = 10
USER_AGENT = "fairlead-probe"


class NetworkProber:
    """Implements ports.Prober."""

    async def attempt(self, spec: ProbeSpec) -> Attempt:
        try:
            async with asyncio.timeout(spec.timeout):
                return await (self._http(spec) if spec.kind == "http" else self._tcp(spec))
        except TimeoutError:
            return Attempt(False, f"no answer within {spec.timeout:g} s")
        except (OSError, aiohttp.ClientError) as error:
            return Attempt(False, _explain(spec, error))

    async def _tcp(self, spec: ProbeSpec) -> Attempt:
        _, writer = await asyncio.open_connection(spec.host, spec.port)
        writer.transport.abort()  # no lingering half-close: the verdict is in
        return Attempt(True, "connected")

    async def _http(self, spec: ProbeSpec) -> Attempt:
        url = yarl.URL.build(scheme="http", host=spec.host, port=spec.port).join(yarl.URL(spec.path))
        connector = aiohttp.TCPConnector(force_close=True)
        headers = {"User-Agent": USER_AGENT, **dict(spec.headers)}
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
            for _ in range(REDIRECTS):
                async with session.get(url, allow_redirects=False) as answer:
                    await _read_body(answer)
                    onward = _same_host(url, answer)
                    if onward is None:
                        return Attempt(200 <= answer.status < 400, f"HTTP {answer.status}")
                    url = onward
        return Attempt(False, f"more than {REDIRECTS} redirects")


async def _read_body(answer: aiohttp.ClientResponse) -> None:
    """A body that breaks off is no answer; one that never ends is enough after a while."""
    read = 0
    async for chunk in answer.content.iter_any():
        read += len(chunk)
        if read >= BODY_CAP:
            return


def _explain(spec: ProbeSpec, error: OSError | aiohttp.ClientError) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ECONNREFUSED:
        return f"nothing listens on {spec.host} port {spec.port} (loopback alone does not count)"
    if number is not None:
        return f"{spec.host} port {spec.port}: {os.strerror(number)}"
    return str(error) or type(error).__name__


def _same_host(url: yarl.URL, answer: aiohttp.ClientResponse) -> yarl.URL | None:
    """Where to go on; None at the end. A redirect to another host is an answer, and is not followed."""
    location = answer.headers.get("Location")
    if not 300 <= answer.status < 400 or location is None:
        return None
    onward = url.join(yarl.URL(location))
    return onward if onward.host == url.host else None
