"""Prints how long rules take to set and to remove, and their cost for the connections of a host.

    python -m benchmarks.redirect       (root: it makes network namespaces)

Times are of the kernel's part, without the start of a privileged helper. Throughput and the rate of new
connections are taken with and without the rules in turns, in one run, and the best turn of each counts: what
else the machine does only slows. The connections pass the rules and are caught by none of them, or go to the
proxy's port by them. Without rules nothing tracks connections either.
"""

import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from ipaddress import ip_network
from pathlib import Path

from agent.core.facts import Level
from agent.core.redirect import Exceptions, RedirectSpec, ruleset
from agent.privileged.redirect import kernel, specification
from tests.privileged.firewalls import BACKENDS
from tests.privileged.hosts import APP, FAMILIES, INBOUND, UNDECLARED, Host, Listeners, dial, wired_host

EXCEPTIONS, ROUNDS, TURNS = (10, 100, 1000), 5, 12
CONNECTIONS, SIZE = 200, 32 << 20  # of one turn; bytes of one turn
V4 = FAMILIES[0]


def main() -> None:
    print(f"{'backend':16} {'exceptions':>10} {'apply ms':>9} {'remove ms':>9}   (median of {ROUNDS})")
    for backend in BACKENDS:
        for count in EXCEPTIONS:
            with tempfile.TemporaryDirectory() as folder, wired_host(Path(folder)) as host:
                spec = excepting(specification.spec(host.prefix), count)
                times = [applied_and_removed(host, backend, spec) for _ in range(ROUNDS)]
            on, off = (statistics.median(column) * 1000 for column in zip(*times, strict=True))
            print(f"{backend:16} {count:>10} {on:>9.1f} {off:>9.1f}", flush=True)
    print(f"\nwith rules / without, best of {TURNS}")
    print(f"{'backend':16} {'connections':12} {'throughput':>10} {'new ones':>9}")
    for backend in BACKENDS:
        with tempfile.TemporaryDirectory() as folder, wired_host(Path(folder)) as host:
            for name, port in (("passed by", UNDECLARED), ("redirected", APP)):
                throughput, rate = ratios(host, backend, port)
                print(f"{backend:16} {name:12} {throughput:>10.2f} {rate:>9.2f}", flush=True)


def excepting(spec: RedirectSpec, count: int) -> RedirectSpec:
    """So many more networks that are exempt outbound; half of them of each IP version."""
    four = [ip_network(f"10.42.{2 * i // 250}.{2 * i % 250 + 1}/32") for i in range(count // 2)]
    six = [ip_network(f"fd42::{2 * i + 0x1000:x}/128") for i in range(count - count // 2)]
    return replace(spec, outbound_except=Exceptions(networks=(*four, *six)))


def applied_and_removed(host: Host, backend: str, spec: RedirectSpec) -> tuple[float, float]:
    def put(level: Level) -> float:
        rules = ruleset(spec, level, level)
        return host.space.inside(lambda: timed(lambda: kernel.replace(rules, backend)))

    on = put(Level.ON)
    return on, put(Level.RELEASED) + put(Level.OFF)


def timed(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


# connections ---------------------------------------------------------------------------------------


def ratios(host: Host, backend: str, port: int) -> tuple[float, float]:
    """Of throughput, and of new connections in a second."""
    spec = specification.spec(host.prefix)
    measures: tuple[Callable[[], float], ...] = (lambda: stream(host, port), lambda: openings(host, port))
    found: dict[Level, list[list[float]]] = {Level.ON: [[], []], Level.OFF: [[], []]}
    for turn in range(TURNS):
        for level in (Level.ON, Level.OFF) if turn % 2 else (Level.OFF, Level.ON):
            host.space.inside(partial(kernel.replace, ruleset(spec, level, level), backend))
            for measure, times in zip(measures, found[level], strict=True):
                times.append(measure())
    pairs = zip(found[Level.OFF], found[Level.ON], strict=True)
    throughput, rate = (min(without) / min(with_) for without, with_ in pairs)
    return throughput, rate


def stream(host: Host, port: int) -> float:
    """Seconds for SIZE bytes from the peer."""
    with Listeners() as ears:
        ears.add(host.space, V4.host, port, INBOUND)
        with dial(host.peer, V4.host, port) as near, ears.accept() as far:
            reader = threading.Thread(target=drain, args=(far,))
            reader.start()
            started, piece = time.perf_counter(), bytes(1 << 20)
            for _ in range(SIZE >> 20):
                near.sendall(piece)
            near.shutdown(socket.SHUT_WR)
            reader.join()
            return time.perf_counter() - started


def drain(connection: socket.socket) -> None:
    while connection.recv(1 << 20):
        pass


def openings(host: Host, port: int) -> float:
    """Seconds for CONNECTIONS, one after the other."""

    def one_by_one() -> None:
        for _ in range(CONNECTIONS):
            socket.create_connection((V4.host, port)).close()

    with Listeners() as ears:
        ears.add(host.space, V4.host, port, INBOUND)
        stop = threading.Event()
        accepting = [threading.Thread(target=accept, args=(each, stop)) for each in ears.sockets]
        for thread in accepting:
            thread.start()
        try:
            return host.peer.inside(lambda: timed(one_by_one))
        finally:
            stop.set()
            for thread in accepting:
                thread.join()


def accept(listener: socket.socket, stop: threading.Event) -> None:
    listener.settimeout(0.1)
    while not stop.is_set():
        try:
            listener.accept()[0].close()
        except TimeoutError:
            continue


if __name__ == "__main__":
    main()
