"""Who listens on the proxy's ports. Any user may bind them while the proxy is down."""

from collections.abc import Mapping, Set
from pathlib import Path

from agent.core import procfs
from agent.core.reasons import Reason
from agent.core.redirect import Address, Outbound, RedirectSpec
from agent.privileged import Refusal

Owners = Mapping[int, Set[int]]  # port → the uids that listen on it


def must_be_the_proxys(spec: RedirectSpec, owners: Owners) -> None:
    """Raises Refusal: no process listens on one of its ports, or one of another user does."""
    for port in _needed(spec):
        uids = owners.get(port, frozenset())
        if not uids:
            raise Refusal(f"cannot redirect: no process listens on port {port}", Reason.PROXY_LISTENER_ABSENT)
        if strangers := sorted(uids - {spec.proxy_uid}):
            detail = (
                f"cannot redirect: uid {strangers[0]} listens on port {port}, not the proxy's {spec.proxy_uid}"
            )
            raise Refusal(detail, Reason.PROXY_LISTENER_FOREIGN)


def outbound(spec: RedirectSpec) -> bool:
    """There is something that goes out through the proxy."""
    selected = {Outbound.NETWORKS: bool(spec.networks), Outbound.ALL: True, Outbound.UIDS: bool(spec.uids)}
    return selected.get(spec.outbound, False)


def accepting(address: Address) -> frozenset[int]:
    """The ports with a listener on this address, or on every address."""
    everywhere = {"::", "0.0.0.0"} if address.version == 4 else {"::"}
    ports = set()
    for table in tables():
        with table.open() as lines:
            ports |= {port for at, port in procfs.listeners(lines) if at in everywhere or at == str(address)}
    return frozenset(ports)


def streams(spec: RedirectSpec) -> int:
    """How many connections the proxy's ports hold; what is in TIME_WAIT has ended."""
    ports = (spec.inbound_listener, spec.outbound_listener)
    return sum(state not in _OVER and port in ports for table in tables() for port, state in _sockets(table))


_OVER = frozenset({procfs.LISTEN, "06", "07"})  # TIME_WAIT, CLOSE


def _needed(spec: RedirectSpec) -> list[int]:
    return [spec.inbound_listener, *([spec.outbound_listener] if outbound(spec) else [])]


def owners() -> Owners:
    uids: dict[int, set[int]] = {}
    for table in tables():
        with table.open() as lines:
            for (_, port), uid in procfs.listeners(lines).items():
                uids.setdefault(port, set()).add(uid)
    return uids


def tables() -> list[Path]:
    """Of this network namespace's sockets; a kernel without IPv6 has no tcp6."""
    tables = [Path("/proc/thread-self/net") / name for name in ("tcp", "tcp6")]
    return [table for table in tables if table.exists()]


def _sockets(table: Path) -> list[tuple[int, str]]:
    """(local port, state) of each socket."""
    sockets = []
    with table.open() as lines:
        next(lines)
        for line in lines:
            _, local, _, state, *_ = line.split()
            sockets.append((int(local.rpartition(":")[2], 16), state))
    return sockets
