"""`fairlead join` broken off after each of its writes and run again, and a host that gets another name."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.adapters import files
from tests.cluster.operator import NAME, Operator, new_address
from tests.cluster.test_join import JoiningHost
from tests.lab.realparts import ApiServer

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("root")]


@pytest.fixture
def operator(real_apiserver: ApiServer, tmp_path: Path) -> Operator:
    made = Operator(real_apiserver, tmp_path)
    made.install_linkerd()
    assert made.enrol().code == 0
    return made


def break_off(patch: pytest.MonkeyPatch, after: int) -> None:
    """The program ends before the write that follows so many."""
    done, write = itertools.count(), files.write_atomically

    def writing(path: Path, content: str | bytes, mode: int = 0o644) -> None:
        if next(done) == after:
            raise KeyboardInterrupt
        write(path, content, mode)

    patch.setattr(files, "write_atomically", writing)


def content(host: JoiningHost) -> dict[str, str]:
    found = {**dict(_files(host.etc)), **dict(_files(host.prefix / "var"))}
    return {name: text for name, text in found.items() if not name.endswith(".before-join")}


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.name, path.read_text()


def every_break(whole: JoiningHost, prepared: Iterator[JoiningHost], bundle: Path, *words: str) -> int:
    """Join `whole` once, and each of the others broken off after one write more, then again. How many writes."""
    assert whole.join(bundle, *words).code == 0
    for after, host in enumerate(prepared):
        before = host.file.read_text() if host.file.exists() else None
        with pytest.MonkeyPatch.context() as patch:
            break_off(patch, after)
            broken = host.join(bundle, *words)
        if broken.code == 0:
            return after
        assert broken.code == 130, broken.err
        there = host.file.read_text() if host.file.exists() else None
        assert there in (before, whole.file.read_text()), "one configuration or the other"
        again = host.join(bundle, *words)
        assert (again.code, content(host)) == (0, content(whole)), (after, again.err)
    raise AssertionError("it never ended")


def test_a_second_run_completes_a_first_join(operator: Operator, tmp_path: Path) -> None:
    fresh = (JoiningHost(tmp_path / str(number)) for number in itertools.count())
    assert every_break(JoiningHost(tmp_path / "whole"), fresh, operator.bundle()) == 4


def test_a_second_run_completes_a_join_with_a_newer_bundle(operator: Operator, tmp_path: Path) -> None:
    """What the broken run wrote does not count as written by a person."""
    first = tmp_path / "first"
    first.write_text(operator.bundle().read_text())
    assert operator.enrol("--port", "6000", "--anchors", str(other_anchors(tmp_path))).code == 0

    def joined(name: str) -> JoiningHost:
        host = JoiningHost(tmp_path / name)
        assert host.join(first).code == 0
        return host

    again = (joined(str(number)) for number in itertools.count())
    assert every_break(joined("whole"), again, operator.bundle()) == 3
    assert not list(tmp_path.glob("*/host/etc/fairlead/*.before-join"))


def other_anchors(folder: Path) -> Path:
    from agent.sandbox.identity.ca import Authority

    path = folder / "anchors.pem"
    path.write_text(Authority("other.example").pem)
    return path


def test_a_host_gets_another_name(operator: Operator, tmp_path: Path) -> None:
    """By `--replace` alone, and back again."""
    host, whole = JoiningHost(tmp_path / "one"), JoiningHost(tmp_path / "whole")
    assert operator.enrol(name="db-2", address=new_address()).code == 0
    assert host.join(operator.bundle()).code == 0 and whole.join(operator.bundle()).code == 0
    refused = host.join(operator.bundle("db-2"))
    assert refused.code == 1 and f"this host is {operator.namespace}/{NAME}" in refused.err
    assert host.config.workload.name == NAME
    done = host.join(operator.bundle("db-2"), "--replace")
    assert done.code == 0 and host.config.workload.name == "db-2", done.err
    assert f'workload.name: "{NAME}" → "db-2"' in done.out, done.out
    back = host.join(operator.bundle(), "--replace")
    assert back.code == 0 and content(host) == content(whole), back.err


def test_a_host_that_was_imaged_again_joins_with_the_same_bundle(operator: Operator, tmp_path: Path) -> None:
    """Its files are gone, and the bundle is no older than any that it knows."""
    before, after = JoiningHost(tmp_path / "before"), JoiningHost(tmp_path / "after")
    for host in (before, after):
        assert host.join(operator.bundle()).code == 0
    assert content(before) == content(after)
