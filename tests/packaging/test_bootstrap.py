"""The checkout's environment is not made again while a program runs in it."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKE_ANEW = """
import sys
sys.path.insert(0, sys.argv[1])
import bootstrap
from pathlib import Path
bootstrap.IN_USE = Path(sys.argv[2])
bootstrap.has_packages = lambda level: True
bootstrap.install_project = lambda: print("made again", flush=True)
bootstrap.prepare("test")
"""


def test_it_waits_until_nothing_runs_in_it(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    user = subprocess.Popen(
        ["flock", "--shared", str(lock), "sh", "-c", "echo in; read -r _"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ},
    )
    assert user.stdin is not None and user.stdout is not None and user.stdout.readline() == "in\n"
    command = [sys.executable, "-c", MAKE_ANEW, str(ROOT / "packaging"), str(lock)]
    maker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ})
    assert maker.stdout is not None
    assert maker.stdout.readline().startswith("waiting until nothing runs in .venv")
    user.communicate("\n", timeout=30)
    assert maker.communicate(timeout=30)[0] == "made again\n" and maker.returncode == 0


def test_all_that_make_runs_in_it_holds_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "packaging"))
    name = importlib.import_module("bootstrap").IN_USE.name
    _, recipes = (ROOT / "Makefile").read_text().split(".PHONY", 1)
    assert "$(BIN)" not in recipes and recipes.count("$(USE)/") > 5
    assert f"USE := flock --shared {name} $(BIN)\n" in (ROOT / "Makefile").read_text()
