"""The real parts are built in lines side by side: each line in its order, and none waits for another."""

from __future__ import annotations

from pathlib import Path

from tests.packaging.test_compiled import packaging

# Three lines whose first parts end only together. `broken`: cannot be built; `there`: is there already; "-": none.
_BUILD = """
import pathlib, sys, threading
import realparts, steps
folder, broken, there = pathlib.Path(sys.argv[1]), *sys.argv[2:]
together = threading.Barrier(3, timeout=60)
class Part:
    def __init__(self, name):
        self.name, self.path = name, folder / name
    def build(self):
        steps.say("begins " + self.name)
        if self.name.endswith("1"):
            together.wait()
        if self.name == broken:
            raise steps.Trouble("cannot build " + self.name, "See above.")
        self.path.touch()
        steps.say("ends " + self.name)
realparts.LINES = tuple(tuple(Part(f"{line}{number}") for number in "123") for line in "abc")
if there != "-":
    (folder / there).touch()
steps.program(lambda _: realparts.build(*(part for line in realparts.LINES for part in line)))
"""


def built(folder: Path, broken: str = "-", there: str = "-") -> tuple[int, str, list[str]]:
    done = packaging(_BUILD, folder, Path(broken), Path(there), XDG_CACHE_HOME=str(folder / "cache"))
    return done.returncode, done.stderr, done.stdout.splitlines()


def test_each_line_is_in_order_and_all_begin_together(tmp_path: Path) -> None:
    code, err, said = built(tmp_path, there="b2")
    assert code == 0, err
    assert set(said[:3]) == {"begins a1", "begins b1", "begins c1"}
    for line, numbers in (("a", "123"), ("b", "13"), ("c", "123")):
        own = [one for one in said if one.split()[1][0] == line]
        assert own == [f"{word} {line}{number}" for number in numbers for word in ("begins", "ends")]


def test_one_that_cannot_be_built_ends_its_line_alone_and_is_named(tmp_path: Path) -> None:
    code, err, _ = built(tmp_path, broken="b2")
    assert code == 69 and err == "cannot build b2\nSee above.\n"
    there = sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    assert there == ["a1", "a2", "a3", "b1", "c1", "c2", "c3"]


def test_the_interpreter_follows_the_debian_that_it_is_compiled_in() -> None:
    program = (
        "import compiled, realparts; print([line.index(compiled.OLDEST) - line.index(compiled.OLDEST.base)"
        " for line in realparts.LINES if compiled.OLDEST in line], len(realparts.ALL) == len(set(realparts.ALL)))"
    )
    assert packaging(program).stdout == "[1] True\n"
