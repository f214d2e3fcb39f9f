"""The control plane looked up and dialled by this host, as its proxy does: name, address, TLS.

The proxy resolves by /etc/resolv.conf and asks for SRV records first, which name the addresses of the same pods.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from agent.core.facts import ControlPlaneFact
from agent.core.reasons import Fault, Reason
from agent.host import reading

RESOLVED_BY = "/etc/resolv.conf"
WITHIN = 3.0  # seconds for one step: the look-up, a connection, a handshake
MOST = 3  # addresses of one name that are dialled


@dataclass(frozen=True)
class Service:
    """`address`: HOST:PORT, as in the proxy's environment."""

    address: str

    @property
    def host(self) -> str:
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def on_loopback(self) -> bool:
        """On loopback no server proves a name (docs/linkerd.md §1.4)."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host.rstrip(".") == "localhost"


class _Missed(Exception):
    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.fault = Fault(reason, detail)


class HostControlPlane:
    """Implements ports.ControlPlane. `name`: the identity of both controllers. `anchors`: files, of which the
    first that exists has the trust anchors."""

    def __init__(self, policy: str, destination: str, name: str, anchors: Sequence[Path]) -> None:
        self._policy, self._destination = Service(policy), Service(destination)
        self._name, self._anchors = name, anchors

    async def look(self, *, dial: bool) -> ControlPlaneFact:
        """`dial`: connections of this process are not redirected, so what answers is the controller itself."""
        policy, destination = await asyncio.gather(
            self._found(self._policy, dial=dial), self._found(self._destination, dial=dial)
        )
        return ControlPlaneFact(policy, destination)

    async def _found(self, service: Service, *, dial: bool) -> Fault | None:
        try:
            addresses = await _resolved(service)
            if dial:
                await self._reached(service, addresses)
        except _Missed as missed:
            return missed.fault
        return None

    async def _reached(self, service: Service, addresses: Sequence[str]) -> None:
        """One of them is enough."""
        missed = _Missed(Reason.CONTROL_PLANE_UNREACHABLE, f"{service.address} has no address")
        for address in addresses[:MOST]:
            try:
                await self._dialled(service, address)
            except _Missed as one:
                missed = one
            else:
                return
        raise missed

    async def _dialled(self, service: Service, address: str) -> None:
        tls = None if service.on_loopback else self._context()
        name = None if tls is None else self._name
        place = f"{service.address} at {address}"
        try:
            async with asyncio.timeout(WITHIN):
                _, writer = await asyncio.open_connection(address, service.port, ssl=tls, server_hostname=name)
            writer.transport.abort()
        except ssl.SSLCertVerificationError as error:
            raise _Missed(Reason.CONTROL_PLANE_UNTRUSTED, f"{place}: {error.verify_message}") from None
        except TimeoutError:
            raise _Missed(Reason.CONTROL_PLANE_UNREACHABLE, f"{place}: no answer in {WITHIN:g} s") from None
        except OSError as error:  # of TLS too
            cause = os.strerror(error.errno) if error.errno and not isinstance(error, ssl.SSLError) else str(error)
            raise _Missed(Reason.CONTROL_PLANE_UNREACHABLE, f"{place}: {cause}") from None

    def _context(self) -> ssl.SSLContext:
        """Of the anchors in force alone, each of which may be an intermediate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(reading.present(self._anchors))
        except (OSError, ValueError):  # told as TrustAnchorsUnusable; then only that it answers is seen
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context


async def _resolved(service: Service) -> list[str]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(WITHIN):
            answers = await loop.getaddrinfo(service.host, service.port, type=socket.SOCK_STREAM)
    except TimeoutError:
        cause = f"no answer in {WITHIN:g} s"
    except (OSError, UnicodeError) as error:  # the second: no name at all
        cause = getattr(error, "strerror", None) or str(error)
    else:
        return list(dict.fromkeys(str(place[0]) for *_, place in answers))
    detail = f"{service.host}: {cause} (by {RESOLVED_BY}{await asyncio.to_thread(_nameservers)})"
    raise _Missed(Reason.CONTROL_PLANE_UNRESOLVED, detail)


def _nameservers() -> str:
    try:
        lines = reading.text(Path(RESOLVED_BY), reading.RECORD, links=True).splitlines()
    except OSError as error:
        return f": {error.strerror}"
    servers = [fields[1] for line in lines if (fields := line.split())[:1] == ["nameserver"] and len(fields) > 1]
    return f": {', '.join(servers)}" if servers else ": no nameserver"
