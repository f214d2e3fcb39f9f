"""Servers that speak first, asked before a declared port is redirected for the first time.

Behind the proxy a plain client of such a server waits 10 s and is dropped, unless the port is opaque
(docs/redirect.md). A host must not lose its clients by joining, so such a port is refused until root's
configuration says that it is opaque.

Law: a port that was redirected once is never asked again: no restart and no boot depends on an application.
"""

import selectors
import socket
import time
from collections.abc import Iterable, Sequence, Set
from pathlib import Path
from typing import Final

from agent.config import Config
from agent.core import opaque
from agent.core.facts import UNKNOWN, Level
from agent.core.reason import Reason
from agent.core.redirect import Address
from agent.host import Host
from agent.privileged import Refusal
from agent.privileged.proxy import readiness
from agent.privileged.redirect import records
from agent.privileged.system import configuration, files

WITHIN: Final = 1.5  # seconds for all ports together; nothing is sent


def must_be_opaque(prefix: Path, source: Path, inbound: Level) -> frozenset[int]:
    """The ports that were asked now. Not under `files.lock`: proxy and servers may take their time. Raises
    Refusal: a server on such a port speaks first, and the port is not opaque for the running proxy."""
    config, new = configuration.read(source), _new(prefix, source, inbound)
    declared = set(config.workload.opaque_ports)
    known = readiness.started_with(records.admin_port(prefix)) if new else UNKNOWN
    _must_be_declared(config, new - declared, running=known is not UNKNOWN)
    if known is not UNKNOWN:
        _must_be_known(config, (new & declared) - set(opaque.within(new, known)))
    return new


def must_be_asked(prefix: Path, source: Path, inbound: Level, asked: frozenset[int]) -> None:
    """Raises Refusal: since they were, another configuration has come into force."""
    if _new(prefix, source, inbound) - asked:
        raise Refusal("cannot redirect: the configuration in force has just changed")


def _new(prefix: Path, source: Path, inbound: Level) -> frozenset[int]:
    """The ports that are redirected for the first time."""
    if inbound is not Level.ON:
        return frozenset()
    return frozenset(configuration.read(source).workload.ports) - _redirected(prefix, source)


def _must_be_declared(config: Config, ports: Set[int], *, running: bool) -> None:
    if greeting := speak_first(config.host.addresses, sorted(ports)):
        listed = ", ".join(map(str, greeting))
        detail = f"cannot redirect: the server on port {listed} speaks first, and workload.opaque_ports lacks it"
        name = f"{config.workload.namespace}/{config.workload.name}"
        remedy = opaque.declare(name, config.workload.opaque_ports, greeting, running=running)
        raise Refusal(detail, Reason.SERVER_SPEAKS_FIRST, remedy)


def _must_be_known(config: Config, ports: Set[int]) -> None:
    """linkerd2-proxy asks for the policy of a port that it was not started with at the port's first connection,
    and forgets it after 90 s without one. Until the answer the port is not opaque (seen on v2.366.0)."""
    if greeting := speak_first(config.host.addresses, sorted(ports)):
        listed = ", ".join(map(str, greeting))
        detail = f"cannot redirect: the server on port {listed} speaks first, and the proxy was started without it"
        raise Refusal(detail, Reason.SERVER_SPEAKS_FIRST, f"{opaque.RESTART}; then: fairlead redirect apply")


def remember(prefix: Path, source: Path, inbound: Level) -> None:
    """These ports are redirected now. Raises Refusal."""
    ports = set(configuration.read(source).workload.ports)
    if inbound is Level.ON and not ports <= (known := _recorded(prefix)):
        files.write(Host(prefix).redirected_ports, " ".join(map(str, sorted(known | ports))) + "\n")


def accept(prefix: Path) -> dict[str, object]:
    """An operator accepts that the declared ports are redirected even if their servers speak first. Raises
    Refusal."""
    with files.lock(prefix):
        remember(prefix, prefix, Level.ON)
    return {"ports": sorted(configuration.read(prefix).workload.ports)}


def _redirected(prefix: Path, source: Path) -> set[int]:
    """A host that has been Ready had its declared ports redirected, also where no record was kept then."""
    known = _recorded(prefix)
    approved = source != prefix  # the ports of a new configuration are asked
    if known or not approved or not records.ready_once(prefix, configuration.member(prefix, source)):
        return known
    return set(configuration.read(source).workload.ports)


def _recorded(prefix: Path) -> set[int]:
    path = Host(prefix).redirected_ports
    text = files.read(path) if path.exists() else ""
    return {int(word) for word in text.split() if word.isascii() and word.isdecimal()}


def speak_first(addresses: Iterable[Address], ports: Sequence[int]) -> tuple[int, ...]:
    """The ports whose server sends something before it is asked. A port where nothing listens does not."""
    greeting: set[int] = set()
    with selectors.DefaultSelector() as waiting:
        for address in addresses if ports else ():
            for port in ports:
                _dial(waiting, address, port)
        deadline = time.monotonic() + WITHIN
        while waiting.get_map() and (rest := deadline - time.monotonic()) > 0:
            for key, _ in waiting.select(rest):
                greeting |= _heard(waiting, key)
        for key in list(waiting.get_map().values()):
            _close(waiting, key)
    return tuple(sorted(greeting))


def _dial(waiting: selectors.BaseSelector, address: Address, port: int) -> None:
    connection = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET)
    connection.setblocking(False)
    connection.connect_ex((str(address), port))  # the result is read below
    waiting.register(connection, selectors.EVENT_READ, port)


def _heard(waiting: selectors.BaseSelector, key: selectors.SelectorKey) -> set[int]:
    """Readable: a greeting, an end, or a connection that was refused."""
    assert isinstance(key.fileobj, socket.socket)
    try:
        spoke = bool(key.fileobj.recv(1))
    except OSError:
        spoke = False
    _close(waiting, key)
    return {int(key.data)} if spoke else set()


def _close(waiting: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    assert isinstance(key.fileobj, socket.socket)
    waiting.unregister(key.fileobj)
    key.fileobj.close()
