"""The live rules as the agent asks for them: its most frequent request, which sets nothing and so loads little."""

from pathlib import Path

from agent.privileged import Answer
from agent.privileged.redirect import answers, live_rules


def check(prefix: Path) -> Answer:
    """Raises Refusal."""
    found = live_rules.read(prefix)
    return answers.full(prefix, found, live_rules.levels(live_rules.source(prefix, found), found))
