"""The effect of the levels on real TCP connections between two network namespaces: for each backend, and for
each IP version.
"""

import asyncio
import threading
from contextlib import ExitStack

import pytest

from agent.adapters.redirector import HelperRedirector
from agent.core.goals import RedirectGoal as Goal
from tests.privileged.firewalls import force
from tests.privileged.hosts import (
    APP,
    FAMILIES,
    INBOUND,
    OUTBOUND,
    PROXY_UID,
    SSH,
    UNDECLARED,
    Family,
    Host,
    Listeners,
    Stream,
    dial,
)

OFF, RELEASED, BLOCK, ON = Goal.OFF, Goal.RELEASED, Goal.BLOCK, Goal.ON


@pytest.fixture
def host(host: Host, backend: str) -> Host:
    force(host, backend)
    return host


@pytest.fixture
def kernel(host: Host) -> HelperRedirector:
    return HelperRedirector(host.helper())


@pytest.fixture(params=FAMILIES, ids=lambda family: f"IPv{family.version}")
def family(request: pytest.FixtureRequest) -> Family:
    found: Family = request.param
    return found


# packets -------------------------------------------------------------------------------


async def test_inbound(host: Host, kernel: HelperRedirector, family: Family) -> None:
    with Listeners() as ears:
        ears.add(host.space, family.everywhere, APP, SSH, UNDECLARED)
        ears.add_listeners(host.space)
        for level in (ON, BLOCK, RELEASED):
            await kernel.apply(level, RELEASED)
            for port in (SSH, UNDECLARED, INBOUND):  # never touched
                place = family.host, port
                assert ears.heard(host.peer, *place) == (place, place), level
            for place in ((family.host, APP), (family.loopback, APP)):  # from this host itself
                assert ears.heard(host.space, *place) == (place, place), level

            application = family.host, APP
            if level is BLOCK:
                with pytest.raises(ConnectionRefusedError):
                    dial(host.peer, *application)
            else:
                arrives = (family.host, INBOUND) if level is ON else application
                assert ears.heard(host.peer, *application) == (arrives, application)


async def test_outbound(host: Host, kernel: HelperRedirector, family: Family) -> None:
    with Listeners() as ears:
        for address in (family.cluster, family.exempt, family.elsewhere):
            ears.add(host.peer, address, 80, 443)
        ears.add(host.space, family.loopback, 80)
        ears.add_listeners(host.space)
        ears.add(host.space, family.inside, 80)
        for level in (ON, BLOCK, RELEASED):
            await kernel.apply(RELEASED, level)
            assert ears.heard(host.space, family.exempt, 443) == ((family.exempt, 443), None), level
            assert ears.heard(host.space, family.elsewhere, 80) == ((family.elsewhere, 80), None), level
            assert ears.heard(host.space, family.cluster, 80, PROXY_UID) == ((family.cluster, 80), None), level
            for place in ((family.loopback, 80), (family.inside, 80)):  # to this host itself
                assert ears.heard(host.space, *place) == (place, place), level

            for place in ((family.cluster, 80), (family.exempt, 80)):
                match level:
                    case Goal.ON:
                        assert ears.heard(host.space, *place) == ((family.loopback, OUTBOUND), place)
                    case Goal.BLOCK:
                        with pytest.raises(ConnectionRefusedError):
                            dial(host.space, *place)
                    case _:
                        assert ears.heard(host.space, *place) == (place, None)


async def test_the_redirect_comes_before_other_owners_chains(
    host: Host, kernel: HelperRedirector, family: Family
) -> None:
    """As Docker publishes a port, and registered before ours."""
    host.space.run(
        "nft",
        "add table inet docker; add chain inet docker c { type nat hook prerouting priority dstnat; };"
        f"add rule inet docker c tcp dport {APP} redirect to :{UNDECLARED}",
    )
    application = family.host, APP
    with Listeners() as ears:
        ears.add(host.space, family.everywhere, UNDECLARED)
        ears.add_listeners(host.space)
        await kernel.apply(ON, RELEASED)
        assert ears.heard(host.peer, *application) == ((family.host, INBOUND), application)
        await kernel.apply(BLOCK, RELEASED)
        with pytest.raises(ConnectionRefusedError):
            dial(host.peer, *application)
        await kernel.apply(RELEASED, RELEASED)
        assert ears.heard(host.peer, *application) == ((family.host, UNDECLARED), application)


async def test_a_bare_host_is_tracked_from_released_on(
    host: Host, kernel: HelperRedirector, family: Family
) -> None:
    """Without tracking the proxy cannot learn where a connection was going, and resets it."""
    proxy = family.host, INBOUND
    with Listeners() as ears:
        ears.add(host.space, family.everywhere, INBOUND)
        assert ears.heard(host.peer, *proxy) == (proxy, None)
        await kernel.apply(RELEASED, RELEASED)
        assert ears.heard(host.peer, *proxy) == (proxy, proxy)


async def test_open_streams_outlive_every_change(host: Host, kernel: HelperRedirector, family: Family) -> None:
    """On a host that was not tracked before: streams older than the first rule, redirected ones, plain ones."""
    changes = [(ON, ON), (BLOCK, BLOCK), (RELEASED, RELEASED), (ON, ON), (RELEASED, BLOCK), (BLOCK, ON), (ON, OFF)]
    with ExitStack() as stack:
        ears = stack.enter_context(Listeners())
        ears.add(host.space, family.everywhere, APP)
        ears.add_listeners(host.space)
        ears.add(host.peer, family.cluster, 80)

        def opened() -> list[Stream]:
            streams = [
                ears.stream(host.peer, family.host, APP),
                ears.stream(host.space, family.cluster, 80),
                ears.stream(host.space, family.host, APP),
            ]
            return [stack.enter_context(stream) for stream in streams]

        streams = opened()
        for change in changes:
            await kernel.apply(*change)
            if BLOCK not in change:
                streams += opened()
            for stream in streams:
                stream.flow()
        arrived = {stream.arrived[1] for stream in streams}
        assert arrived == {APP, INBOUND, OUTBOUND, 80}


async def test_a_stream_that_flows_all_the_time_never_notices(host: Host, kernel: HelperRedirector) -> None:
    """Each change replaces the table, and with it the last user of connection tracking and translation."""
    family, stop = FAMILIES[0], threading.Event()

    def pump(stream: Stream) -> int:
        count = 0
        while not stop.is_set():
            stream.flow()
            count += 1
        return count

    with Listeners() as ears:
        ears.add_listeners(host.space)
        await kernel.apply(ON, ON)
        with ears.stream(host.peer, family.host, APP) as stream:
            pumping = asyncio.create_task(asyncio.to_thread(pump, stream))
            try:
                for level in (BLOCK, RELEASED, ON) * 3:
                    await kernel.apply(level, level)
            finally:
                stop.set()
            assert await pumping > 0
