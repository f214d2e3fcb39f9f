"""The doctor's judgement of live rules, on the kernel's."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.privileged.hosts import Host, Listeners
from tests.privileged.levels import ARM, ON, levels

ROOT = Path(__file__).resolve().parents[2]


def rules(host: Host) -> dict[str, str]:
    """What the doctor finds, asked for that check alone."""
    words = ("-m", "agent", "doctor", "--prefix", str(host.prefix), "--timeout", "60", "--json", "rules")
    done = subprocess.run(
        host.space.command(sys.executable, *words), cwd=ROOT, capture_output=True, text=True, env={**os.environ}
    )
    assert done.stdout, done.stderr
    found: dict[str, dict[str, str]] = {one["name"]: one for one in json.loads(done.stdout)["checks"]}
    return found["rules"]


def test_rules_that_another_program_changed_are_named(host: Host, ears: Listeners) -> None:
    assert rules(host)["result"] == "ok"
    ears.add_proxy(host.space)
    assert levels(host, ARM) == ON
    whole = rules(host)
    assert (whole["result"], whole["why"]) == ("ok", "inbound on, outbound on"), whole
    host.space.run("nft", "flush", "chain", "inet", "fairlead", "inbound")
    changed = rules(host)
    assert changed["result"] == "fail" and "the live rules differ" in changed["why"], changed
    assert "fairlead redirect apply" in changed["fix"]
