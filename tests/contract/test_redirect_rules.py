"""Any rules, through the real programs into the real kernel and back: whatever backend, the same packets."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings

from agent.core.facts import Level
from agent.core.redirect import RedirectSpec, iptables, levels, nft, ruleset
from agent.core.redirect.trace import Packet, trace
from agent.privileged.redirect import kernel
from tests.core.redirects import expected, packets, settable, specs
from tests.lab.netns import Namespace, namespace
from tests.privileged.firewalls import BACKENDS


@pytest.fixture(scope="module")
def host(root: None) -> Iterator[Namespace]:
    with namespace() as made:
        yield made


@pytest.mark.parametrize("backend", BACKENDS)
@given(spec=specs, into=settable, out=settable, packet=packets)
@settings(max_examples=30, deadline=None)
def test_what_the_kernel_holds_is_read_as_what_was_written(
    host: Namespace, backend: str, spec: RedirectSpec, into: Level, out: Level, packet: Packet
) -> None:
    rules = ruleset(spec, into, out)
    host.inside(lambda: kernel.replace(rules, backend))
    found = host.inside(lambda: kernel.read(backend))
    assert found == rules
    assert levels(spec, found) == (into, out)
    action, rule = trace(found, packet)
    assert (action, rule.port if rule else 0) == expected(spec, into, out, packet)


@given(spec=specs, into=settable, out=settable)
@settings(max_examples=30, deadline=None)
def test_the_programs_find_no_fault_with_what_is_rendered(
    host: Namespace, spec: RedirectSpec, into: Level, out: Level
) -> None:
    rules = ruleset(spec, into, out)
    host.run("nft", "-j", "-c", "-f", "-", input=json.dumps(nft.transaction(rules)))
    for version, family in ((4, "iptables"), (6, "ip6tables")):
        for kind in ("nft", "legacy"):
            saved = iptables.parse(host.run(f"{family}-{kind}-save"))
            text = iptables.restore(saved, rules, version)
            host.run(f"{family}-{kind}-restore", "--wait", "5", "--test", "--noflush", input=text)
