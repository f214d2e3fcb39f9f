"""The table `metrics`: where they may be served so that no other program reads them on the way."""

from collections.abc import Iterator
from ipaddress import ip_address

from agent.config import shape as c
from agent.config.checks import text
from agent.config.reader import Bad


def listen(value: object) -> str:
    """ADDRESS:PORT, or ""."""
    if value == "":
        return ""
    from agent.core.proxy import ADMIN_PORT, INBOUND_PORT, OUTBOUND_PORT  # most configurations have no such place

    where = text(value)
    host, _, port = where.rpartition(":")
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
        good = address.version == 4 or host.startswith("[")
    except ValueError:
        good = False
    if not (good and port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise Bad(f"{where!r} is not ADDRESS:PORT", 'write it like "10.0.0.5:9464" or "[::1]:9464"')
    if int(port) in (ADMIN_PORT, INBOUND_PORT, OUTBOUND_PORT):
        raise Bad(f"{port} is a port of the proxy", "choose another, like 9464")
    return where


def on_loopback(where: str) -> bool:
    return _address(where).is_loopback


def problems(config: c.Config) -> Iterator[c.Problem]:
    where = config.metrics.listen
    if not where or config.metrics.plain or on_loopback(where):
        return
    if _address(where) not in config.host.addresses:
        cause = f"{where} is neither loopback nor an address of the workload, so it is reached without the mesh"
        yield c.Problem("metrics.listen", cause, "use an address of host.addresses, or set metrics.plain = true")
    elif int(where.rpartition(":")[2]) not in config.workload.ports:
        cause = f"the port of {where} is not declared, so it is reached without the mesh"
        yield c.Problem("metrics.listen", cause, "add it to workload.ports, or set metrics.plain = true")


def _address(where: str) -> c.Address:
    return ip_address(where.rpartition(":")[0].strip("[]"))
