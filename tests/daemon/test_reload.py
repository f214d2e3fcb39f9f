"""What an edit takes: every key of the file has its place in the table."""

import argparse
import dataclasses
from pathlib import Path

import pytest

from agent import config
from agent.cli import reload as cli_reload
from agent.cli.kit.exits import Failure
from agent.config import Config
from agent.config.changes import TAKES, Takes, changed, digest, takes
from agent.core.reasons import Fault, Reason
from agent.daemon.reload import Reload
from agent.host import Host
from agent.loops.board import Board

TEXT = (Path(__file__).parents[2] / "config/fairlead.toml").read_text()
PRESENT = config.parse(TEXT)
SLOTS = TEXT.replace("slots = false", "slots = true")


def keys() -> list[str]:
    tables = [each.name for each in dataclasses.fields(PRESENT) if each.name != "probes"]
    return [f"{name}.{each.name}" for name in tables for each in dataclasses.fields(getattr(PRESENT, name))]


@pytest.mark.parametrize("key", [*keys(), "probe"])
def test_every_key_has_its_place(key: str) -> None:
    assert takes(key)


def test_the_table_has_no_other_key() -> None:
    known = {*keys(), *(key.partition(".")[0] for key in keys()), "probe"}
    assert TAKES.keys() <= known


def test_the_same_file_changes_nothing() -> None:
    assert changed(PRESENT, config.parse(TEXT)) == ()


@pytest.mark.parametrize(
    ("table", "key", "value", "what"),
    [
        ("drain", "settle", 7.0, {Takes.LIVE}),
        ("proxy", "log", "debug", {Takes.LOG}),
        ("proxy", "cores", 3, {Takes.PROXY}),
        ("proxy", "user", "other", {Takes.JOIN}),
        ("workload", "ports", (1234,), {Takes.PROXY, Takes.REDIRECT}),
        ("redirect", "outbound", "all", {Takes.REDIRECT}),
        ("identity", "anchors_window", 5.0, {Takes.LIVE}),
    ],
)
def test_an_edit_is_named_by_its_key(table: str, key: str, value: object, what: set[Takes]) -> None:
    there = dataclasses.replace(getattr(PRESENT, table), **{key: value})
    after = dataclasses.replace(PRESENT, **{table: there})
    assert changed(PRESENT, after) == (f"{table}.{key}",)
    assert takes(f"{table}.{key}") == what


def test_a_digest_tells_values_apart_and_not_files() -> None:
    assert digest(PRESENT) == digest(config.parse(f"# words\n{TEXT}"))
    assert digest(PRESENT) != digest(config.parse(SLOTS))


def test_probes_are_one_key() -> None:
    assert changed(PRESENT, dataclasses.replace(PRESENT, probes=())) == ("probe",)


async def test_a_file_that_is_no_toml_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "etc/fairlead/fairlead.toml"
    path.parent.mkdir(parents=True)
    said: list[Fault | None] = []
    reload = Reload(PRESENT, str(tmp_path), Board(), lambda _: None, lambda words: None, said.append, 1)
    path.write_text("[workload\n")
    answer = await reload.order({})
    assert said[-1] is not None and said[-1].detail.startswith(f"{path}: not valid TOML")
    with pytest.raises(Failure, match=f"1 problem in {path}"):
        cli_reload.print_refusal(dict(answer), argparse.Namespace(json=False))
    assert capsys.readouterr().err.startswith(f"fairlead: {path}: not valid TOML")


async def test_a_bad_file_is_refused_with_every_problem_and_a_good_one_taken(tmp_path: Path) -> None:
    path = tmp_path / "etc/fairlead/fairlead.toml"
    path.parent.mkdir(parents=True)
    taken: list[Config] = []
    said: list[Fault | None] = []
    reload = Reload(PRESENT, str(tmp_path), Board(), taken.append, lambda words: None, said.append, 1)
    path.write_text(TEXT.replace("settle = 5", "settle = -5").replace("cores = 1", "cores = 0"))
    answer = await reload.order({})
    assert {problem["key"] for problem in answer["problems"]} == {"drain.settle", "proxy.cores"}
    assert said[-1] is not None and said[-1].reason is Reason.CONFIGURATION_REFUSED
    path.write_text(TEXT.replace("settle = 5", "settle = 7"))
    answer = await reload.order({})
    assert (answer["problems"], answer["changed"]) == ([], ["drain.settle"])
    assert said[-1] is None and [each.drain.settle for each in taken] == [7]


@pytest.mark.parametrize(("approved", "waits"), [(None, ["proxy.slots"]), (TEXT, ["proxy.slots"]), (SLOTS, [])])
async def test_what_root_has_approved_waits_for_no_approval(
    tmp_path: Path, approved: str | None, waits: list[str]
) -> None:
    host = Host(tmp_path)
    for path, text in ((host.configuration, SLOTS), (host.approved.configuration, approved)):
        path.parent.mkdir(parents=True)
        if text is not None:
            path.write_text(text)
    reload = Reload(PRESENT, str(tmp_path), Board(), lambda _: None, lambda words: None, lambda _: None, 1)
    answer = await reload.order({})
    assert (answer["changed"], answer["proxy"], answer["redirect"]) == (["proxy.slots"], ["proxy.slots"], waits)
