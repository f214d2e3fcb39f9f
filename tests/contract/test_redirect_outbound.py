"""What the tracer says about outbound connections matches what happens to them, with rules that the others do not
have: of a part of a network, of every destination, and before the redirect's own hook."""

from contextlib import suppress

import pytest

from agent.adapters.redirector import HelperRedirector
from agent.core.reasons import Reason
from agent.core.redirect.departure import Departure
from agent.core.redirect.walk import Verdict
from agent.privileged.redirect import admission, departures, specification
from tests.contract.test_redirect_cases import put
from tests.privileged.hosts import FAMILIES, OUTBOUND, Host, Listeners, dial, original

V4 = FAMILIES[0]
OPEN, SHUT, UNSURE = Verdict
TABLE = "table inet more { chain c { type %s hook output priority %s; policy accept; %s; }\n}\n"


def configure(host: Host, outbound: str) -> None:
    host.config.write_text(f'{host.config.read_text()}outbound = "{outbound}"\nforce = true\n')


def told(host: Host) -> Departure:
    """Over IPv4."""
    spec = specification.spec(host.prefix)
    return host.space.inside(lambda: departures.judged(admission.seen(), spec))[0]


def arrives(host: Host, address: str) -> bool:
    """At the proxy, which learns where it was going."""
    with Listeners() as ears, suppress(OSError):
        ears.add(host.space, V4.loopback, OUTBOUND, 3128)
        with dial(host.space, address, 80, within=0.5), ears.accept() as connection:
            return connection.getsockname()[1] == OUTBOUND and original(connection) == (address, 80)
    return False


@pytest.mark.parametrize(
    ("outbound", "ruleset", "verdict", "where", "lost", "kept"),
    [
        (
            "networks",
            TABLE % ("filter", "-150", "ip daddr 10.42.0.0/24 drop"),
            SHUT,
            "10.42.0.0/24",
            V4.cluster,
            "",
        ),
        (
            "networks",
            TABLE % ("nat", "-150", "ip daddr 10.42.0.7 tcp dport 80 redirect to :3128"),
            UNSURE,
            "10.42.0.7",
            V4.cluster,
            "",
        ),
        ("all", TABLE % ("nat", "-150", "tcp dport 80 redirect to :3128"), UNSURE, "", V4.elsewhere, ""),
        ("all", TABLE % ("filter", "-150", "tcp dport 80 drop"), UNSURE, "", V4.elsewhere, ""),
        ("all", TABLE % ("filter", "-300", "ip daddr != 127.0.0.0/8 drop"), SHUT, "", V4.elsewhere, ""),
        (
            "all",
            TABLE % ("filter", "-150", "ip daddr 10.42.0.7 drop"),
            OPEN,
            "10.42.0.7",
            V4.cluster,
            V4.elsewhere,
        ),
        ("all", TABLE % ("nat", "-100", "tcp dport 80 redirect to :3128"), OPEN, "", "", V4.elsewhere),
    ],
)
def test_rules_that_outbound_connections_meet(
    host: Host, outbound: str, ruleset: str, verdict: Verdict, where: str, lost: str, kept: str
) -> None:
    configure(host, outbound)
    put(host, "nftables")
    for address in filter(None, (lost, kept)):
        assert arrives(host, address)
    host.space.run("nft", "-f", "-", input=ruleset)
    found = told(host)
    assert (found.verdict, found.where) == (verdict, where), found
    assert not lost or not arrives(host, lost)
    assert not kept or arrives(host, kept)


async def test_it_is_told_to_the_agent(host: Host) -> None:
    put(host, "nftables")
    redirector = HelperRedirector(host.helper())
    host.space.run("nft", "-f", "-", input=TABLE % ("filter", "0", "ip daddr 127.0.0.1 meta mark 7 drop"))
    found = await redirector.firewall()
    assert found is not None and found.reason is Reason.FIREWALL_UNCLEAR
    assert "meta mark 7" in found.detail and "IPv4 outbound" in found.detail
    host.space.run("nft", "insert rule inet more c ip daddr 127.0.0.1 tcp dport 4140 drop")
    found = await redirector.firewall()
    assert found is not None and found.reason is Reason.FIREWALL_CLOSED and "tcp dport 4140 drop" in found.detail
    raw = "type filter hook prerouting priority raw; policy accept; tcp dport 4143 notrack"
    host.space.run("nft", "-f", "-", input=f"table inet raw {{ chain c {{ {raw}; }}\n}}\n")
    found = await redirector.firewall()  # peers that dial 4143 themselves
    assert (
        found is not None and found.reason is Reason.CONNECTIONS_UNTRACKED and "dport 4143 notrack" in found.detail
    )
    host.space.ip("link set lo down")
    found = await redirector.firewall()
    assert found is not None and found.reason is Reason.LOOPBACK_DOWN and found.way_out == "ip link set lo up"
