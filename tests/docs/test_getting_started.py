"""docs/getting-started.md: its commands exist, its files are the shipped ones, and its example works."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

from agent import config
from agent.cli import main
from agent.sandbox.stage import document_steps, first_day
from agent.sandbox.stage.tour import Missed

ROOT = Path(__file__).parents[2]
STEPS = document_steps.steps(ROOT / "docs/getting-started.md")
OURS = [step.command for step in STEPS if step.command.startswith("fairlead ")]
MINIMAL = (ROOT / "config/minimal.toml").read_text()


def edited() -> str:
    """By the page's own commands."""
    text = MINIMAL
    for step in STEPS:
        for line, old, new in re.findall(r"'/\^(\w+)/s[/|](\S+?)[/|](.*?)[/|]'", step.command):
            text = "\n".join(one.replace(old, new) if one.startswith(line) else one for one in text.splitlines())
    return text


@pytest.mark.parametrize("command", OURS)
def test_each_command_of_fairlead_parses(command: str) -> None:
    words = shlex.split(command, comments=True)[1:]
    assert main.build_parser(words[:1]).parse_args(words).run


def test_the_page_has_no_hole() -> None:
    verbs = {command.split()[1] for command in OURS}
    assert verbs >= {"check-config", "proxy", "plan", "redirect", "status", "leave"}
    assert {step.needs for step in STEPS} == {"", "cluster", "package", "spire", "proxy"}
    assert all("$ " in step.command for step in STEPS if step.command.startswith(("admin", "spire$")))


def test_commands_for_elsewhere_are_marked() -> None:
    """What is not marked runs on a machine that has the package alone."""
    for step in STEPS:
        elsewhere = step.command.startswith(("admin$", "spire$")) or "spire-agent" in step.command.split()
        assert step.needs or not elsewhere, step.command


def test_the_sandbox_knows_each_command() -> None:
    """Which it runs itself, does otherwise, or leaves out, with the reason."""
    for step in STEPS:
        way = first_day.way(step.command)
        assert way.act or way.instead, step.command
        if step.command.startswith(("fairlead ", "sed ")):
            assert way.act and not way.instead, step.command
    with pytest.raises(Missed, match="`fairleed leave`"):
        first_day.way("fairleed leave")


def test_the_minimal_example_is_refused_as_it_is_and_good_as_the_page_edits_it() -> None:
    with pytest.raises(config.ConfigError) as refused:
        config.parse(MINIMAL)
    assert len(refused.value.problems) == MINIMAL.count('"CHANGE-ME"')
    assert all("CHANGE-ME" in problem.cause for problem in refused.value.problems)
    found = config.parse(edited())
    assert "CHANGE-ME" not in edited().partition("[workload]")[2] and found.workload.name == "db-1"


def test_the_sample_workload_is_that_of_the_example() -> None:
    text = (ROOT / "config/cluster/workload.yaml").read_text()
    exports = dict(re.findall(r"(\w+)=(\S+)", " ".join(s.command for s in STEPS if "export" in s.command)))
    assert set(re.findall(r"\$\{(\w+)\}", text)) <= exports.keys()
    for name, value in exports.items():
        text = text.replace(f"${{{name}}}", value)
    workload, service = yaml.safe_load_all(text)
    example = tomllib.loads(edited())
    tls, there = workload["spec"]["meshTLS"], example["workload"]
    assert (workload["metadata"]["name"], workload["metadata"]["namespace"]) == (there["name"], there["namespace"])
    assert (tls["identity"], tls["serverName"]) == (there["identity"], there["server_name"])
    assert [ip["ip"] for ip in workload["spec"]["workloadIPs"]] == example["host"]["addresses"]
    assert [port["port"] for port in workload["spec"]["ports"]] == there["ports"]
    assert service["spec"]["selector"].items() <= workload["metadata"]["labels"].items()


def test_the_spire_agent_makes_the_socket_that_the_example_reads() -> None:
    socket = tomllib.loads(edited())["identity"]["workload_api"]
    assert f'socket_path = "{socket}"' in (ROOT / "config/spire/agent.conf").read_text()
    unit = (ROOT / "config/spire/spire-agent.service").read_text()
    assert str(Path(socket).parent.relative_to("/run")) in unit and "RuntimeDirectoryMode=0755" in unit
