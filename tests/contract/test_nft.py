"""Any rules, through the real nft into the real kernel and back."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings

from agent.core.facts import Level
from agent.core.redirect import RedirectSpec, levels, nft, ruleset
from tests.core.redirects import settable, specs
from tests.netns import Namespace, namespace


@pytest.fixture(scope="module")
def host(root: None) -> Iterator[Namespace]:
    with namespace() as made:
        yield made


@given(specs, settable, settable)
@settings(max_examples=60, deadline=None)
def test_what_the_kernel_holds_is_read_as_what_was_written(
    host: Namespace, spec: RedirectSpec, into: Level, out: Level
) -> None:
    host.run("nft", "-j", "-f", "-", input=json.dumps(nft.transaction(ruleset(spec, into, out))))
    found = nft.read(json.loads(host.run("nft", "-j", "list", "table", "inet", "fairlead")))
    assert found == ruleset(spec, into, out)
    assert levels(spec, found) == (into, out)
