"""How the interpreter's sources are fetched, and what is recorded of what was compiled."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PACKAGING = Path(__file__).parents[2] / "packaging"
# Stands for chroot and apt-get in it: an archive that has the sources named in HAS, and unpacks them into src.
_CHROOT = """#!/bin/sh
for wanted in "$@"; do :; done
case " $HAS " in
*" $wanted "*)
    mkdir -p "$1/src/zlib-1.2/debian"
    echo "zlib (1:1.2-$wanted) x; urgency=low" >"$1/src/zlib-1.2/debian/changelog" ;;
*) echo "E: Failed to fetch $wanted: 404" >&2; exit 100 ;;
esac
"""
_FETCH = """
import compiled, pathlib, steps, sys
steps.program(lambda argv: steps.say("version " + compiled.OLDEST._fetch(pathlib.Path(argv[0]), "zlib")))
"""
_RECORD = """
import compiled, interpreter, pathlib, sys
root, sources = map(pathlib.Path, sys.argv[1:])
compiled._record(root, sources, {name: "1:2-3" for name in compiled.PARTS})
print(*interpreter.parts(interpreter.find(root)), sep="\\n")
"""


def packaging(program: str, *argv: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(PACKAGING), **environment}
    return subprocess.run([sys.executable, "-c", program, *argv], capture_output=True, text=True, env=env)


def fetched(folder: Path, *has: str) -> subprocess.CompletedProcess[str]:
    program = folder / "bin/chroot"
    program.parent.mkdir()
    program.write_text(_CHROOT)
    program.chmod(0o755)
    (folder / "root").mkdir()
    path = f"{program.parent}:{os.environ['PATH']}"
    return packaging(_FETCH, folder / "root", PATH=path, HAS=" ".join(has))


def test_the_newest_source_is_taken(tmp_path: Path) -> None:
    done = fetched(tmp_path, "zlib", "zlib/bookworm")
    assert done.stdout.splitlines() == ["compiling zlib 1:1.2-zlib", "version 1:1.2-zlib"], done.stderr


def test_a_fix_that_is_listed_and_missing_is_reported_and_the_point_release_taken(tmp_path: Path) -> None:
    first, *rest = fetched(tmp_path, "zlib/bookworm").stdout.splitlines()
    assert first == "cannot fetch the source zlib: E: Failed to fetch zlib: 404"
    assert rest[-1] == "version 1:1.2-zlib/bookworm"


def test_no_source_at_all_ends_the_build(tmp_path: Path) -> None:
    done = fetched(tmp_path)
    assert done.returncode == 69
    assert done.stderr.startswith("cannot fetch the source of zlib\nSee the lines above; Debian's archive must be")


def test_what_was_compiled_is_recorded_with_version_and_licence(tmp_path: Path) -> None:
    """So that the copyright page and the inventory name it. The program here is needed by nothing."""
    root, sources = tmp_path / "root", tmp_path / "src"
    for folder in ("usr/bin", "usr/lib/python3.11/lib-dynload"):
        (root / folder).mkdir(parents=True)
    (root / "usr/lib/python3.11/os.py").touch()
    (root / "usr/bin/python3.11").write_bytes(Path("/bin/true").resolve().read_bytes())
    names = re.findall(r'^    "([\w.-]+)": \("', (PACKAGING / "compiled.py").read_text(), re.MULTILINE)
    for name in names:
        (sources / f"{name}-1/debian").mkdir(parents=True)
        (sources / f"{name}-1/debian/copyright").write_text(f"licence of {name}")
    done = packaging(_RECORD, root, sources)
    assert done.stdout == "Part(name='python3.11', version='1:2-3')\n", done.stderr
    assert (root / "usr/share/doc/libssl3/copyright").read_text() == "licence of openssl"
