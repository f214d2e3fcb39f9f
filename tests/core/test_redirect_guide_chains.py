"""The chains of Linkerd's guide: detected and removed."""

import pytest

from agent.core.redirect import guide_chains, iptables
from agent.core.redirect.guide_chains import removal
from agent.core.redirect.iptables import parse
from tests.core.iptables_tables import Tables

# The guide's commands, typed twice: the second -N fails, the jumps are there twice.
TYPED = """*nat
:PROXY_INIT_REDIRECT - [0:0]
:PROXY_INIT_OUTPUT - [0:0]
-A PROXY_INIT_REDIRECT -p tcp -m multiport --dports 4190,4191,4567,4568 -j RETURN
-A PROXY_INIT_REDIRECT -p tcp -j REDIRECT --to-ports 4143
-A PREROUTING -m comment --comment "proxy-init/install-proxy-init-prerouting" -j PROXY_INIT_REDIRECT
-A PREROUTING -m comment --comment "proxy-init/install-proxy-init-prerouting" -j PROXY_INIT_REDIRECT
-A PROXY_INIT_OUTPUT -m owner --uid-owner 0 -j RETURN
-A OUTPUT -m comment --comment "proxy-init/install-proxy-init-output" -j PROXY_INIT_OUTPUT
-A PREROUTING -p tcp -j DOCKER
COMMIT
"""


def test_they_are_recognised_and_taken_away_with_every_jump() -> None:
    tables = Tables()
    assert guide_chains.guide_chains(iptables.parse(tables.saved())) == ()
    assert guide_chains.removal(iptables.parse(tables.saved())) == ""
    tables.run(TYPED)
    saved = iptables.parse(tables.saved())
    assert guide_chains.guide_chains(saved) == ("PROXY_INIT_OUTPUT", "PROXY_INIT_REDIRECT")
    tables.run(guide_chains.removal(saved))
    assert "PROXY_INIT" not in tables.saved()
    assert "-j DOCKER" in tables.saved()


@pytest.mark.parametrize(
    "comment", ["not -j PROXY_INIT_REDIRECT", "see PROXY_INIT_REDIRECT now", "-j FAIRLEAD_IN"]
)
def test_cases_of_a_comment_that_names_a_chain_lead_nowhere(comment: str) -> None:
    text = f"""*nat
:PREROUTING ACCEPT [0:0]
:PROXY_INIT_REDIRECT - [0:0]
-A PREROUTING -p tcp -m comment --comment "{comment}" -j ACCEPT
COMMIT
"""
    saved = parse(text)
    assert "-D" not in removal(saved)
    assert saved.jumps("nat") == ()
