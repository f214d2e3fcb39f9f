"""`fairlead join BUNDLE`: it waits no longer than the trial of the redirect lasts."""

from pathlib import Path

import pytest

from agent.cli.kit.exits import Exit
from tests.cluster.operator import run

FAR = "cannot join the mesh: --timeout is above 3540 s"


@pytest.mark.parametrize("seconds", ["3541", "86400", "inf", "nan"])
def test_a_wait_beyond_the_trial_is_refused_before_anything_is_done(tmp_path: Path, seconds: str) -> None:
    words = ("--prefix", str(tmp_path / "host"), "--yes", "--timeout", seconds)
    done = run("join", str(tmp_path / "absent.bundle"), *words)
    assert done.code == Exit.USAGE and FAR in done.err, done.err
    assert not (tmp_path / "host").exists()


@pytest.mark.parametrize(
    "words",
    [("BUNDLE", "--timeout", "3540"), ("BUNDLE", "--no-start", "--timeout", "3541"), ("--timeout", "86400")],
)
def test_one_that_ends_within_it_or_without_a_trial_is_not(tmp_path: Path, words: tuple[str, ...]) -> None:
    given = [str(tmp_path / "absent.bundle") if word == "BUNDLE" else word for word in words]
    done = run("join", *given, "--prefix", str(tmp_path / "host"))
    assert done.code != Exit.OK and FAR not in done.err, "it fails for what it is not given"
