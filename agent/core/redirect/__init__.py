"""What fairlead asks of the kernel, as pure data: a specification, the rules that follow from it at each
level, and the level that live rules amount to.

Law: whoever renders rules for a kind of firewall, reads them back or traces a packet does it over the values
of `rules` alone, so that no backend can mean something else than another.
"""

from agent.core.redirect.intended import levels, ruleset, settle
from agent.core.redirect.rules import Action, Chain, Match, Network, Rule, Ruleset, canonical
from agent.core.redirect.spec import (
    SSH_PORT,
    Address,
    Exceptions,
    Inbound,
    Outbound,
    Published,
    RedirectSpec,
    caught_ports,
    refused_ports,
    swallowed,
)

__all__ = [
    "SSH_PORT",
    "Action",
    "Address",
    "Chain",
    "Exceptions",
    "Inbound",
    "Match",
    "Network",
    "Outbound",
    "Published",
    "RedirectSpec",
    "Rule",
    "Ruleset",
    "canonical",
    "caught_ports",
    "levels",
    "refused_ports",
    "ruleset",
    "settle",
    "swallowed",
]
