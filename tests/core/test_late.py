"""A class of core.late is one of `dataclasses`, but for when that is made."""

import dataclasses
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agent.core.late import dataclass, field


@dataclass(frozen=True)
class Point:
    """Where."""

    x: int
    y: tuple[int, ...] = field(default=(), repr=False)
    seen: list[int] = field(default_factory=list, compare=False)


@dataclass(frozen=True)
class Named(Point):
    name: str = "?"

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name.upper())


@dataclass
class Counted:
    count: int = 0


@dataclass(frozen=True)
class Never:
    value: int = 0


def test_it_is_a_dataclass() -> None:
    found = Named(1, name="a")
    assert repr(found) == "Named(x=1, seen=[], name='A')"
    assert found == Named(1, (), [2], "a") != Named(2)
    assert hash(Named(1)) == hash(Named(1, (), [3]))
    assert dataclasses.replace(found, x=5).x == 5
    assert (Point(1).seen, Point.__doc__, Point.__init__.__qualname__) == ([], "Where.", "Point.__init__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.x = 2  # type: ignore[misc]  # that it is frozen
    with pytest.raises(TypeError, match="x"):
        Point()  # type: ignore[call-arg]  # that it needs a value
    match found:
        case Point(x, y):
            assert (x, y) == (1, ())


def test_one_that_may_change() -> None:
    counted = Counted()
    counted.count += 1
    assert counted == Counted(1)


def test_its_fields_are_known_before_the_first_instance() -> None:
    assert dataclasses.is_dataclass(Never) and [each.name for each in dataclasses.fields(Never)] == ["value"]
    assert Never(2) == Never(2)


def test_two_threads_may_make_the_first_instance() -> None:
    for _ in range(50):

        @dataclass(frozen=True)
        class Fresh:
            a: int
            b: int = 2

        made: list[Fresh] = []
        begin = threading.Barrier(4)

        def make(kind: type[Fresh] = Fresh, made: list[Fresh] = made, begin: threading.Barrier = begin) -> None:
            begin.wait()
            made.append(kind(1))

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert made == [Fresh(1, 2)] * 4


def test_a_module_with_such_classes_loads_without_dataclasses() -> None:
    program = "import sys; from agent.core import svid; print('dataclasses' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-ISc", f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); {program}"],
        capture_output=True,
        text=True,
        env={},
        check=True,
    )
    assert done.stdout == "False\n"
