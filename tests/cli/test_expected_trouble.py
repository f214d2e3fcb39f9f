"""No verb takes an expected trouble for a bug: what is absent, unreadable or not what it should be."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.cli import main
from agent.cli.kit.exits import Exit
from agent.host import Host
from tests.cli.test_examples import words

# The sandbox brings its own host, the watcher tries until it is stopped, and the archive of support has its own
# tests on such a host.
VERBS = [verb for verb in main.VERBS if verb not in ("sandbox", "watcher", "support")]


def nothing(path: Path) -> None:
    """Not even the folder."""


def no_text(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\xff\xfe\x00 = [")


def a_folder(path: Path) -> None:
    path.mkdir(parents=True)


def a_loop(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(path)


def has_prefix(verb: str) -> bool:
    try:
        main.build_parser([verb]).parse_args([*words(verb), "--prefix", "/nowhere"])
    except SystemExit:
        return False
    return True


@pytest.mark.parametrize("world", [nothing, no_text, a_folder, a_loop], ids=lambda made: str(made.__name__))
@pytest.mark.parametrize("verb", VERBS)
def test_it_is_reported_as_what_it_is(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    verb: str,
    world: Callable[[Path], None],
) -> None:
    host = Host(tmp_path)
    for path in (host.configuration, host.socket, host.phase, host.suspended, tmp_path / "kubeconfig"):
        world(path)
    for file in ("FILE", "db-1.bundle", "guide.yaml", "fairlead.toml"):
        world(tmp_path / file)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    given = [*words(verb), *(["--prefix", str(tmp_path)] if has_prefix(verb) else [])]
    capfd.readouterr()
    code = main.main(given)
    said = capfd.readouterr()
    assert code != Exit.BUG and "Traceback" not in said.out + said.err, said.err
    if code:
        assert said.out or said.err.startswith("fairlead: ")
