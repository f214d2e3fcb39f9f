"""A class of core.late is one of `dataclasses`, but for when that is made, and by what."""

import dataclasses
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.core import late, plain
from agent.core.late import dataclass, field


@pytest.fixture(params=["compiled", "plain"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of the methods that a class gets at its first instance."""
    loaded = dict(sys.modules)
    if request.param == "plain":
        del loaded["dataclasses"]
    monkeypatch.setattr(late, "sys", type("sys", (), {"modules": loaded}))
    yield request.param


def classes() -> Any:
    """New ones, of which no instance was made."""

    class Made:
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
        class Own:
            """With methods of its own."""

            value: int

            def __eq__(self, other: object) -> bool:
                return True

            def __repr__(self) -> str:
                return "own"

    return Made


def test_it_is_a_dataclass(kind: str) -> None:
    made = classes()
    point, named = made.Point, made.Named
    found = named(1, name="a")
    assert ("plain" if plain.__file__ == named.__init__.__code__.co_filename else "compiled") == kind
    assert repr(found) == f"{named.__qualname__}(x=1, seen=[], name='A')"
    assert found == named(1, (), [2], "a") != named(2)
    assert point(1) != found and found != point(1) and point(1) == point(1)
    assert hash(named(1)) == hash(named(1, (), [3])) == hash((1, (), "?"))
    assert point(1).seen == [] and point(1).seen is not point(1).seen
    assert (point.__doc__, point.y, hasattr(point, "seen")) == ("Where.", (), False)
    assert point.__init__.__qualname__.endswith("Point.__init__")
    match point(1):
        case point(x, y):
            assert (x, y) == (1, ())


def test_it_is_frozen(kind: str) -> None:
    made = classes()
    for found in (made.Named(1), made.Point(1)):
        with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'x'"):
            found.x = 2
        with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'x'"):
            del found.x

    class Free(made.Point):  # type: ignore[misc, name-defined]  # mypy does not know what is made
        pass

    free = Free(1)
    free.other = 3
    del free.other
    with pytest.raises(dataclasses.FrozenInstanceError):
        free.x = 2


@pytest.mark.parametrize(
    ("values", "words"),
    [((), {}), ((1, (), [], 4), {}), ((1,), {"x": 2}), ((1,), {"other": 2})],
    ids=["too few", "too many", "twice", "unknown"],
)
def test_its_arguments_are_its_fields(kind: str, values: tuple[Any, ...], words: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="Point"):
        classes().Point(*values, **words)


def test_one_that_may_change(kind: str) -> None:
    counted = classes().Counted()
    counted.count += 1
    assert counted == type(counted)(1)
    with pytest.raises(TypeError, match="unhashable"):
        hash(counted)


def test_its_own_methods_stay(kind: str) -> None:
    own = classes().Own
    assert own(1) == own(2) and repr(own(1)) == "own" and hash(own(1)) == hash((1,))


def test_one_may_be_replaced(kind: str) -> None:
    found = classes().Named(1, (2,), [3], "a")
    for replace in (dataclasses.replace, late.replace):
        changed = replace(found, x=5)
        assert (changed.x, changed.y, changed.seen, changed.name) == (5, (2,), [3], "A")
        with pytest.raises(TypeError):
            replace(found, other=1)


def test_dataclasses_knows_it(kind: str) -> None:
    """Before its first instance, and after it."""
    for first in (False, True):
        made = classes()
        if first:
            made.Named(1)
        found = dataclasses.fields(made.Named)
        assert [(each.name, each.type) for each in found][::3] == [("x", int), ("name", str)]
        assert [each.repr for each in found] == [True, False, True, True]
        assert dataclasses.asdict(made.Named(1)) == {"x": 1, "y": (), "seen": [], "name": "?"}

        @dataclasses.dataclass(frozen=True)
        class More(made.Named):  # type: ignore[misc, name-defined]  # nor here
            more: int = 1

        assert (More(1, more=2).name, More(1, more=2).more) == ("?", 2)


def test_two_threads_may_make_the_first_instance(kind: str) -> None:
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


@pytest.mark.parametrize("program", ["from agent.core import svid", "from agent.core.reason import Fault, Reason"])
def test_such_classes_are_loaded_and_used_without_dataclasses(program: str) -> None:
    use = "Fault(Reason.LEFT) == Fault(Reason.LEFT)" if "Fault" in program else "svid"
    program = f"import sys; {program}; {use}; print('dataclasses' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-ISc", f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); {program}"],
        capture_output=True,
        text=True,
        env={},
        check=True,
    )
    assert done.stdout == "False\n"
