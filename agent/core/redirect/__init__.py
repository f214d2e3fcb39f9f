"""The redirect as pure data: a specification, its rules at each level, and the level of live rules.

Law: every backend and the tracer use only the values of `rules`, so that rules mean the same in each of them.
"""

from agent.core.redirect.rules import Action, Address, Chain, Match, Network, Rule, Ruleset, canonical
from agent.core.redirect.spec import (
    SSH_PORT,
    Exceptions,
    Inbound,
    Outbound,
    Published,
    RedirectSpec,
    caught_ports,
    refused_ports,
    swallowed,
)
from agent.core.redirect.wanted_rules import levels, ruleset, settle

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
