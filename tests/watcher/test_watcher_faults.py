"""Fault scenarios of a `fairlead watcher` as a process on a real kube-apiserver: its network, clock and token."""

from __future__ import annotations

import contextlib
import re
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.lab.realparts import where
from tests.watcher.watching import LEASES, SYSTEM, Fleet, Watcher, kubeconfig, watcher

if TYPE_CHECKING:
    from tests.lab.realparts import ApiServer

ALIVE = ("vm-1", "vm-2", "vm-3")
WELL = 'fairlead_watcher_hosts{standing="well"}'
GRACE = 4  # seconds, as `watcher` has it


def enrolled(fleet: Fleet) -> None:
    for name in (*ALIVE, "dead"):
        fleet.enrol(name)


def marked_after_the_gap(running: Watcher) -> float:
    """Seconds, by the watcher's log, from the first good reading to the mark."""
    running.wait_for("marked a silent host")
    text = running.log.read_text()
    times = [
        re.findall(rf"^(\S+) \[.*{what}", text, re.MULTILINE)[-1] for what in ("recovered.*readings", "marked")
    ]
    back, marked = (datetime.fromisoformat(one).timestamp() for one in times)
    return marked - back


# the clock ------------------------------------------------------------------------------------------


def shifted(file: Path) -> Mapping[str, str]:
    """What makes a process take the time in this file for that of its wall clock; its monotonic clock is kept."""
    library = where("debian-bookworm-furnished") / "usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@pytest.mark.usefixtures("root")
def test_a_clock_that_is_off_by_hours_and_jumps_marks_nobody(fleet: Fleet, config: Path, tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+9h")
    enrolled(fleet)
    with watcher(config, "-n", fleet.namespace, more=shifted(clock)) as running:
        fleet.renewing(*ALIVE, "dead", until=lambda: running.metric(WELL) == 4)
        transitions = leases(fleet)
        for offset in ("+2h", "+15h", "+1h"):
            clock.write_text(offset)
            end = time.monotonic() + GRACE
            fleet.renewing(*ALIVE, "dead", until=lambda end=end: time.monotonic() > end)  # type: ignore[misc]  # now
            assert fleet.ready(*ALIVE, "dead"), offset
        fleet.renewing(*ALIVE, until=lambda: fleet.unreachable("dead"))
        assert fleet.ready(*ALIVE) and leases(fleet) == transitions, "it led all the time"
    (condition,) = fleet.server.must("GET", f"{fleet.workloads}/dead")["status"]["conditions"]
    assert condition["lastTransitionTime"] > time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1800))


def leases(fleet: Fleet) -> int:
    """How often the watcher's own Lease had another holder."""
    spec = fleet.server.must("GET", LEASES.format(SYSTEM) + "/fairlead-watcher")["spec"]
    return int(spec.get("leaseTransitions", 0))


# the token ------------------------------------------------------------------------------------------


def test_a_token_that_was_revoked_and_its_file_renewed(fleet: Fleet, token: str, tmp_path: Path) -> None:
    """401: it marks nobody meanwhile, and every host has its grace again."""
    enrolled(fleet)
    file, config = tmp_path / "token", kubeconfig(fleet.server, tmp_path / "config", token)
    config.write_text(config.read_text().replace(f'"token": "{token}"', f'"tokenFile": "{file}"'))
    with revocable(fleet.server) as (revoked, revoke):
        file.write_text(revoked)
        with watcher(config, "-n", fleet.namespace) as running:
            fleet.renewing(*ALIVE, "dead", until=lambda: running.metric(WELL) == 4)
            revoke()  # the server believes in it for some seconds more
            fleet.renewing(*ALIVE, "dead", until=lambda: running.page("/readyz")[0] == 503)
            assert running.said("ApiUnauthorized")
            end = time.monotonic() + 2 * GRACE
            fleet.renewing(*ALIVE, until=lambda: time.monotonic() > end)
            assert fleet.ready(*ALIVE, "dead")
            file.write_text(token)
            fleet.renewing(*ALIVE, until=lambda: fleet.unreachable("dead"))
            assert fleet.ready(*ALIVE) and marked_after_the_gap(running) >= GRACE


@contextlib.contextmanager
def revocable(server: ApiServer) -> Iterator[tuple[str, Callable[[], object]]]:
    """A token of the watcher's account that is valid while a Secret exists."""
    secrets = f"/api/v1/namespaces/{SYSTEM}/secrets"
    made = server.must("POST", secrets, {"metadata": {"generateName": "bound-"}})["metadata"]
    bound = {"apiVersion": "v1", "kind": "Secret", "name": made["name"], "uid": made["uid"]}
    path = f"/api/v1/namespaces/{SYSTEM}/serviceaccounts/fairlead-watcher/token"
    spec = {"expirationSeconds": 3600, "boundObjectRef": bound}
    token = server.must("POST", path, {"spec": spec})["status"]["token"]
    yield str(token), lambda: server.must("DELETE", f"{secrets}/{made['name']}")


# the network ----------------------------------------------------------------------------------------


class Cable:
    """Between a client and the API server, TLS and all. A cut one carries nothing, and says nothing of it."""

    def __init__(self, server: ApiServer) -> None:
        url = urlsplit(server.url)
        self._server = (str(url.hostname), int(url.port or 0))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self.cut = threading.Event()
        self._ends: list[socket.socket] = [self._listener]

    def __enter__(self) -> Cable:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                one, _ = self._listener.accept()
                if self.cut.is_set():
                    self._ends.append(one)
                    continue
                other = socket.create_connection(self._server)
                self._ends += [one, other]
                for pair in ((one, other), (other, one)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), selectors.DefaultSelector() as selector:
            selector.register(source, selectors.EVENT_READ)
            while True:
                selector.select()
                if self.cut.is_set():
                    time.sleep(0.05)
                    continue
                if not (piece := source.recv(65536)):
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(piece)


def test_a_watcher_whose_network_is_cut_marks_nobody_and_gives_every_host_its_grace(
    fleet: Fleet, token: str, tmp_path: Path
) -> None:
    """The hosts reach the API server all the time; one dies meanwhile."""
    enrolled(fleet)
    with Cable(fleet.server) as cable:
        config = kubeconfig(fleet.server, tmp_path / "config", token)
        config.write_text(config.read_text().replace(fleet.server.url, cable.url))
        with watcher(config, "-n", fleet.namespace) as running:
            fleet.renewing(*ALIVE, "dead", until=lambda: running.metric(WELL) == 4)
            cable.cut.set()
            fleet.renewing(*ALIVE, until=lambda: running.page("/readyz")[0] == 503)
            fleet.renewing(*ALIVE, until=lambda: running.metric("fairlead_watcher_leads") == 0)
            assert fleet.ready(*ALIVE, "dead")
            cable.cut.clear()
            fleet.renewing(*ALIVE, until=lambda: fleet.unreachable("dead"))
            assert fleet.ready(*ALIVE) and marked_after_the_gap(running) >= GRACE
