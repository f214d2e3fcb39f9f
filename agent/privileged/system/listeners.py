"""Who listens on the proxy's ports. Any user may bind them while the proxy is down, and every other address of
loopback at any time.

Law: addresses are compared exactly. Whose a socket is, the kernel's table says beside it.
"""

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Protocol

from agent.core import procfs
from agent.core.reason import Reason
from agent.core.redirect import Address, Outbound, RedirectSpec
from agent.host.listeners import listening, tables
from agent.privileged import Refusal

Owners = Mapping[tuple[str, int], Set[int]]  # address and port → the uids of the sockets that listen there


class Redirected(Protocol):
    """What is redirected, as far as its listeners go: of a RedirectSpec, or of a plan."""

    @property
    def proxy_uid(self) -> int: ...

    @property
    def arrivals(self) -> frozenset[tuple[Address, int]]:
        """Where redirected connections arrive, by address and port."""
        ...


def must_be_the_proxys(spec: Redirected, found: Owners | None = None) -> None:
    """Raises Refusal: where redirected connections arrive, no process listens, or one of another user does."""
    found = owners() if found is None else found
    for address, port in sorted(spec.arrivals, key=lambda place: (-place[1], place[0].version, place[0])):
        uids = receivers(found, address, port)
        if not uids:
            detail = f"cannot redirect: no process listens on {address} port {port}"
            raise Refusal(detail, Reason.PROXY_LISTENER_ABSENT)
        if strangers := sorted(uids - {spec.proxy_uid}):
            raise foreign(spec, strangers[0], f"listens on {address} port {port}")


def foreign(spec: Redirected, uid: int, does: str) -> Refusal:
    detail = f"cannot redirect: uid {uid} {does}, not the proxy's {spec.proxy_uid}"
    return Refusal(detail, Reason.PROXY_LISTENER_FOREIGN)


def receivers(found: Owners, address: Address, port: int) -> Set[int]:
    """The users of the sockets that get a connection to this address: the kernel prefers a socket of that very
    address to one of every address, and of those one of that IP version alone."""
    everywhere = ("0.0.0.0", "::") if address.version == 4 else ("::",)
    return next((found[at, port] for at in (str(address), *everywhere) if (at, port) in found), frozenset())


def outbound(spec: RedirectSpec) -> bool:
    """There is something that goes out through the proxy."""
    selected = {Outbound.NETWORKS: bool(spec.networks), Outbound.ALL: True, Outbound.UIDS: bool(spec.uids)}
    return selected.get(spec.outbound, False)


def accepting(address: Address, uid: int | None = None) -> frozenset[int]:
    """The ports with a listener on this address, or on every address. `uid`: whose sockets count."""
    everywhere = {"::", "0.0.0.0"} if address.version == 4 else {"::"}
    return frozenset(
        port
        for (at, port), uids in owners().items()
        if (at in everywhere or at == str(address)) and (uid is None or uid in uids)
    )


def streams(spec: RedirectSpec) -> int:
    """How many connections the proxy's ports hold; what is in TIME_WAIT has ended."""
    ports = (spec.inbound_listener, spec.outbound_listener)
    return sum(state not in _OVER and port in ports for table in tables() for port, state in _sockets(table))


def may_dial(uid: int) -> bool:
    """A process of this user has a TCP socket, so one may dial or listen."""
    for table in tables():
        with table.open() as lines:
            next(lines)
            if any(fields[3] not in _ENDED and int(fields[7]) == uid for fields in map(str.split, lines)):
                return True
    return False


_ENDED = frozenset({"06", "07"})  # TIME_WAIT, CLOSE
_OVER = _ENDED | {procfs.LISTEN}


def owners() -> Owners:
    found: dict[tuple[str, int], set[int]] = {}
    for one in listening():
        found.setdefault(one.place, set()).add(one.uid)
    return found


def _sockets(table: Path) -> list[tuple[int, str]]:
    """(local port, state) of each socket."""
    sockets = []
    with table.open() as lines:
        next(lines)
        for line in lines:
            _, local, _, state, *_ = line.split()
            sockets.append((int(local.rpartition(":")[2], 16), state))
    return sockets
