"""Streams that are open outlive every change, on a host that tracked no connection before."""

from contextlib import ExitStack

import pytest

from agent.core.facts import Level
from agent.core.redirect import RedirectSpec, ruleset
from agent.privileged.redirect import kernel, specification
from tests.privileged.firewalls import BACKENDS, leftovers
from tests.privileged.hosts import APP, FAMILIES, INBOUND, OUTBOUND, Host, Listeners, Stream

OFF, RELEASED, ON = Level.OFF, Level.RELEASED, Level.ON
TIMES = 100

# Another program that translates, and so tracks: what fairlead redirected does not end with its own table. A chain
# of type nat alone would not do, it is its rules that keep tracking on.
ANOTHER_USER = (
    "add table inet other; add chain inet other a { type nat hook prerouting priority 0; };"
    "add chain inet other b { type nat hook output priority 0; };"
    "add rule inet other a tcp dport 1 redirect to :2; add rule inet other b tcp dport 1 redirect to :2"
)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Streams:
    """Opened in the host's present state, and kept until the end."""

    def __init__(self, host: Host, stack: ExitStack) -> None:
        self._host, self._stack = host, stack
        self._ears = stack.enter_context(Listeners())
        self.all: list[Stream] = []
        self._ears.add_families(host.space, APP)
        for family in FAMILIES:
            self._ears.add(host.peer, family.cluster, 80)

    def open(self) -> set[int]:
        """In and out, of both IP versions. Returns the ports at which they arrived."""
        made = [
            self._stack.enter_context(self._ears.stream(*where))
            for family in FAMILIES
            for where in (
                (self._host.peer, family.host, APP),
                (self._host.space, family.cluster, 80),
            )
        ]
        self.all += made
        return {stream.arrived[1] for stream in made}

    def flow(self) -> None:
        for stream in self.all:
            stream.flow()


def put(host: Host, backend: str, spec: RedirectSpec, level: Level) -> None:
    rules = ruleset(spec, level, level)
    host.space.inside(lambda: kernel.replace(rules, backend))


def test_a_hundred_times_on_and_released(host: Host, backend: str) -> None:
    """Streams from before the first rule, redirected ones, and ones that were not. That all of them outlive it
    beside another user of tracking too, the removals below show."""
    spec = specification.spec(host.prefix)
    with ExitStack() as stack:
        streams = Streams(host, stack)
        assert streams.open() == {APP, 80}
        for i in range(TIMES):
            for level in (ON, RELEASED):
                put(host, backend, spec, level)
                if i in (0, TIMES - 1):
                    assert streams.open() == ({INBOUND, OUTBOUND} if level is ON else {APP, 80})
                streams.flow()


@pytest.mark.parametrize("others", [False, True], ids=["alone", "beside another user of tracking"])
def test_a_hundred_times_removed(host: Host, backend: str, others: bool) -> None:
    """Plain streams never notice. Redirected ones, for which `redirect remove` waits, outlive even that where
    another program translates too."""
    spec = specification.spec(host.prefix)
    with ExitStack() as stack:
        streams = Streams(host, stack)
        streams.open()
        if others:
            host.space.run("nft", ANOTHER_USER)
        for i in range(TIMES):
            for level in (ON, RELEASED, OFF):
                put(host, backend, spec, level)
                if i == 0 and (others or level is not ON):
                    assert streams.open() == ({INBOUND, OUTBOUND} if level is ON else {APP, 80})
                streams.flow()
            if i in (0, TIMES - 1):
                assert leftovers(host) == ""
