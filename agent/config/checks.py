"""Checks of single values."""

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any, TypeVar
from urllib.parse import urlsplit

from agent.config.reader import Bad, Check
from agent.config.shape import Address, Endpoint, Network, PortRange
from agent.core import addresses as ip_texts
from agent.core import spiffe
from agent.host import CREDENTIALS

T = TypeVar("T")

PROXY_PORTS: Mapping[int, str] = {4140: "outbound", 4143: "inbound", 4190: "tap", 4191: "admin"}
BROKEN_WITH_SPIRE = ((2, 329), (2, 330))  # docs/linkerd.md §0.10


def text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise Bad(f"must be a non-empty string, not {value!r}", "put it in quotes")
    if "\0" in value or "\n" in value:
        raise Bad("must not contain line ends or NUL", "write it on one line")
    return value


def matching(pattern: str, what: str, most: int = 253) -> Check[str]:
    def check(value: object) -> str:
        word = text(value)
        if len(word) > most or not re.fullmatch(pattern, word):
            raise Bad(f"{word!r} is not {what}", f"write {what} of at most {most} characters")
        return word

    return check


def integer(low: int, high: int) -> Check[int]:
    def check(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise Bad(f"must be a whole number from {low} to {high}, not {value!r}", "correct the number")
        return value

    return check


def seconds(low: float, high: float) -> Check[float]:
    def check(value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise Bad(f"must be from {low:g} to {high:g} seconds, not {value!r}", "write a number without a unit")
        return float(value)

    return check


def choice(*allowed: str) -> Check[Any]:
    def check(value: object) -> str:
        if value not in allowed:
            raise Bad(f"{value!r} is not one of the choices", "choose from: " + ", ".join(allowed))
        return str(value)

    return check


def each(check: Check[T]) -> Check[tuple[T, ...]]:
    def check_all(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise Bad(f"must be a list, not {value!r}", "put the values in [brackets]")
        items: list[T] = []
        bad: list[Bad] = []
        for item in value:
            try:
                items.append(check(item))
            except Bad as one:
                bad.append(one)
        if bad:
            causes, remedies = dict.fromkeys(b.cause for b in bad), dict.fromkeys(b.remedy for b in bad)
            raise Bad("; ".join(causes), "; ".join(remedies))
        if len(set(items)) < len(items):
            raise Bad("lists a value twice", "keep one of them")
        return tuple(items)

    return check_all


def path(value: object) -> str:
    name = text(value).removeprefix("unix:")
    if name.startswith("//"):
        name = "/" + name.lstrip("/")
    if not name.startswith("/") or ".." in name.split("/"):
        raise Bad(f"{value!r} is not an absolute path", "begin it with / and leave out ..")
    return name


def credential(value: object) -> str:
    """A path, or the name of a credential of the unit."""
    name = text(value)
    return name if re.fullmatch(re.escape(CREDENTIALS) + r"[A-Za-z0-9._-]{1,200}", name) else path(value)


def address(value: object) -> Address:
    try:
        parsed = ip_texts.address(text(value))
    except ValueError:
        raise Bad(f"{value!r} is not an IP address", "write it like 192.0.2.10 or 2001:db8::10") from None
    if parsed.is_loopback or parsed.is_unspecified or parsed.is_multicast or parsed.is_link_local:
        raise Bad(f"{parsed} is not an address that peers can dial", "write the host's own routable address")
    return parsed


def addresses(value: object) -> tuple[Address, ...]:
    parsed = each(address)(value)
    versions = [a.version for a in parsed]
    if not parsed or len(versions) > len(set(versions)):
        raise Bad("must be one IPv4 address, one IPv6 address, or one of each", "keep what peers should dial")
    return parsed


def slot_network(value: object) -> Network:
    """Link-local, and not the one of a cloud's metadata service; for IPv6 a unique local one (RFC 4193)."""
    found = network(value)
    match found:
        case IPv4Network():
            lawful = found.is_link_local and 24 <= found.prefixlen <= 30 and _METADATA not in found
        case IPv6Network():
            lawful = found.subnet_of(_UNIQUE_LOCAL) and 64 <= found.prefixlen <= 126
    if not lawful:
        remedy = "write a /24 of 169.254.0.0/16, like 169.254.41.0/24, or for IPv6 a /64 of fd00::/8"
        raise Bad(f"{value!r} is not free for slots", remedy)
    return found


_METADATA = IPv4Address("169.254.169.254")
_UNIQUE_LOCAL = IPv6Network("fd00::/8")


def network(value: object) -> Network:
    try:
        return ip_texts.network(text(value))
    except ValueError as error:
        raise Bad(f"{value!r} is not a network: {error}", "write it like 10.42.0.0/16") from None


def endpoint(value: object) -> Endpoint:
    host, colon, port = text(value).rpartition(":")
    try:
        if not colon or not 0 <= int(port) <= 65535:
            raise ValueError
        return Endpoint(ip_texts.address(host.removeprefix("[").removesuffix("]")), int(port))
    except ValueError:
        raise Bad(f"{value!r} is not ADDRESS:PORT", "write 10.0.0.1:6443 or [fd00::1]:6443; port 0: all") from None


def port_range(value: object) -> PortRange:
    """8080 or "8000-8099"."""
    if isinstance(value, int):
        port = integer(1, 65535)(value)
        return port, port
    first, dash, last = text(value).partition("-")
    if not (dash and first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last) <= 65535):
        raise Bad(f"{value!r} is not a range of ports", 'write a port like 8080, or a range like "8000-8099"')
    return int(first), int(last)


def interface(value: object) -> str:
    return matching(r"[A-Za-z0-9_.@:-]+", "the name of an interface", 15)(value)


def account(value: object) -> str:
    """A user or group, by name or number. That the name exists is checked where it is used."""
    name = str(value) if isinstance(value, int) and not isinstance(value, bool) else text(value)
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}|[0-9]{1,10}", name) or (
        name.isdecimal() and int(name) >= 2**32 - 1
    ):
        raise Bad(f"{value!r} is neither a name nor a number", "write it as in /etc/passwd or /etc/group")
    return name


def yes_or_no(value: object) -> bool:
    if not isinstance(value, bool):
        raise Bad(f"must be true or false, not {value!r}", "write true or false, without quotes")
    return value


def declared_port(value: object) -> int:
    port = integer(1, 65535)(value)
    if port == 22:
        raise Bad("22 is SSH's port and is never redirected", "remove it")
    if port in PROXY_PORTS:
        raise Bad(f"{port} is the proxy's {PROXY_PORTS[port]} port", "remove it")
    return port


def spiffe_id(value: object) -> str:
    """Of a workload."""
    identity, most = text(value), spiffe.MOST_IN_WORKLOAD
    if len(identity) > most:
        raise Bad(f"has {len(identity)} characters, and an ExternalWorkload holds {most}", "shorten the ID's path")
    return user_id(identity)


def user_id(value: object) -> str:
    """A SPIFFE ID with a path, as a user of the API server has."""
    identity = text(value)
    try:
        if not spiffe.parse(identity).path:
            raise ValueError("it is that of a trust domain: it has no path")
    except ValueError as error:
        cause = f"{identity!r} is not a workload's SPIFFE ID: {error}"
        raise Bad(cause, "write spiffe://TRUST-DOMAIN/PATH") from None
    return identity


def server(value: object) -> str:
    parts = urlsplit(text(value))
    try:
        good = parts.scheme == "https" and parts.hostname and parts.path in ("", "/") and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.query or parts.username:
        raise Bad(f"{value!r} is not the URL of an API server", "write https://HOST:PORT")
    return str(value).rstrip("/")


def user(value: object) -> str:
    name = str(value) if isinstance(value, int) and not isinstance(value, bool) else text(value)
    if name in ("root", "0"):
        raise Bad("the proxy must not run as root", "use a separate user")
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}|[1-9][0-9]{0,9}", name):
        raise Bad(f"{value!r} is neither a user name nor a uid", "write the name of the proxy's user")
    return name


def version(value: object) -> str:
    number = matching(r"v?\d+\.\d+\.\d+", "a version like 2.366.0")(value).removeprefix("v")
    if tuple(int(n) for n in number.split(".")[:2]) in BROKEN_WITH_SPIRE:
        raise Bad(f"proxy {number} cannot use SPIRE", "use 2.331.0 or later")
    return number


def boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise Bad(f"must be true or false, not {value!r}", "write it without quotes")
    return value


def scheme(value: object) -> Any:
    return choice("http", "https")(value.lower() if isinstance(value, str) else value)


def headers(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise Bad(f"must be a table, not {value!r}", 'write it like { Host = "db.example", X-Probe = "1" }')
    for name, content in value.items():
        token = re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name)
        if not token or not isinstance(content, str) or not re.fullmatch(r"[ -~]*", content):
            raise Bad(f"{name!r} = {content!r} is not an HTTP header", "use plain ASCII on one line, in quotes")
    if len({name.lower() for name in value}) < len(value):
        raise Bad("names a header twice: case does not matter in them", "keep one of them")
    return tuple(value.items())


def proxy_variables(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise Bad(f"must be a table, not {value!r}", "write [proxy.environment] and one variable on each line")
    for name, content in value.items():
        if not isinstance(content, str) or re.search(r"[\0\n]", content):
            raise Bad(f"{name!r} = {content!r} is not a text on one line", "put it in quotes")
        from agent.core import proxy  # most configurations set no variable

        if wrong := proxy.why_not_extra(name, content):
            raise Bad(f"{name!r} {wrong}", "remove it")
    return tuple(value.items())


def command(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(word, str) for word in value):
        raise Bad(f"must be a list of strings, not {value!r}", 'write it like ["/usr/bin/pg_isready", "-q"]')
    if any("\0" in word for word in value):
        raise Bad("must not contain NUL", "remove it")
    return (path(value[0]), *value[1:])


def ip(value: object) -> str:
    try:
        return str(ip_texts.address(text(value)))
    except ValueError:
        raise Bad(f"{value!r} is not an IP address", "leave it out to dial the workload's own address") from None


LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
dns_label = matching(LABEL, "a DNS label", 63)
dns_name = matching(rf"{LABEL}(\.{LABEL})*\.?", "a DNS name")
object_name = matching(rf"{LABEL}(\.{LABEL})*", "the name of a Kubernetes object")
unit = matching(r"[A-Za-z0-9:_.\\][A-Za-z0-9:_.@\\-]*\.[a-z]+", "a systemd unit's name, like db.service")
host_port = matching(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}", "HOST:PORT")
