"""What linkerd2-proxy does with what its host opens, with controllers that have no policy for it, and how it ends
that at SIGTERM: as what comes in. With LINKERD2_PROXY on that program too."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from agent.core import proxy
from tests.contract.test_linkerd2_proxy import grace_ends, page, serving
from tests.contract.test_linkerd2_proxy_http2 import in_flight_is_answered, outlived
from tests.lab.child_proxies import ADDRESS, CLIENT_ADDRESS, CONTROLLED, PROXIES, ProxyHost, binary_of
from tests.lab.proxy_clients import ask, dial, listening, refused


@pytest.fixture(params=PROXIES)
async def host(request: pytest.FixtureRequest, root: None) -> AsyncIterator[ProxyHost]:
    async with ProxyHost(binary_of(request.param), controlled=True) as host:
        yield host


async def test_bytes_reach_their_original_destination(host: ProxyHost) -> None:
    async with serving(host, CONTROLLED), listening(host.client, CLIENT_ADDRESS):
        answer = await ask(dial(host.network, CLIENT_ADDRESS), b"\x00hello")
        assert answer == f"{ADDRESS}\n".encode() + b"\x00helloend"
        counted = 'tcp_open_total{direction="outbound",peer="src",target_addr="192.0.2.8:8080"'
        assert counted in (await page(host, "/metrics"))[1]


async def test_a_program_that_dials_the_outbound_port_itself_is_refused(host: ProxyHost) -> None:
    async with serving(host, CONTROLLED):
        assert await refused(host.network, "127.0.0.1", proxy.OUTBOUND_PORT, b"\x00hello")


async def test_what_is_in_flight_is_answered_before_the_end(host: ProxyHost) -> None:
    await in_flight_is_answered(host, replace(CONTROLLED, grace=600), outward=True)


async def test_a_stream_that_outlives_grace_ends_with_its_connection(host: ProxyHost) -> None:
    await outlived(host, replace(CONTROLLED, grace=1), outward=True)


async def test_the_grace_period_ends_a_raw_stream(host: ProxyHost) -> None:
    async with listening(host.client, CLIENT_ADDRESS):
        await grace_ends(host, CONTROLLED, lambda: dial(host.network, CLIENT_ADDRESS))
