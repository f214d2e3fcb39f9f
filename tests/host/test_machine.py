"""The machine of a host, as its Lease names it."""

from pathlib import Path

import pytest

from agent.host import machine


def written(folder: Path, text: str) -> str:
    (folder / "etc").mkdir(exist_ok=True)
    (folder / "etc/machine-id").write_text(text)
    return machine(folder)


def test_it_tells_machines_apart_and_hides_the_machine_id(tmp_path: Path) -> None:
    first, second = "0123456789abcdef" * 2, "fedcba9876543210" * 2
    found = written(tmp_path, first + "\n")
    assert len(found) == 32 and found not in (first, second)
    assert written(tmp_path, second) != found and written(tmp_path, first) == found


@pytest.mark.parametrize("text", ["", "uninitialized\n", "0123"])
def test_an_image_that_was_not_booted_has_none(tmp_path: Path, text: str) -> None:
    assert machine(tmp_path) == "" and written(tmp_path, text) == ""
