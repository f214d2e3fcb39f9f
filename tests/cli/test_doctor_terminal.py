"""`fairlead doctor` on a real terminal of 80 and of 120 columns, in each state of a host.

A screen that is to change is recorded again by `python -m tests.cli.doctor_screens`.
"""

import pytest

from agent.core.doctor import host_checks
from agent.core.doctor.check import Result
from tests.cli import doctor_screens
from tests.cli.doctor_screens import STATES, record
from tests.cli.screens import WIDTHS, without_colours


@pytest.mark.parametrize("width", WIDTHS)
async def test_the_screen_of_each_state(width: int) -> None:
    shown = {state: without_colours(text) for state, text in (await doctor_screens.screens(width)).items()}
    assert shown == {state: record(state, width).read_text() for state in STATES}
    assert max(len(line) for text in shown.values() for line in text.splitlines()) <= width


def test_no_record_is_left_over() -> None:
    known = {record(state, width).name for state in STATES for width in WIDTHS}
    assert {path.name for path in doctor_screens.FOLDER.iterdir()} == known


async def test_colours_are_for_terminals_that_want_them() -> None:
    coloured = (await doctor_screens.screens(120))["warnings"]
    plain = (await doctor_screens.screens(120, NO_COLOR="1"))["warnings"]
    assert "\033[33m!\033[0m clock" in coloured and "\033[32m✓\033[0m disk" in coloured
    assert "\033" not in plain and without_colours(coloured) == without_colours(plain)


def test_a_failure_is_named_in_the_last_lines_and_silences_what_depends_on_it() -> None:
    text = record("slow-clock", 80).read_text()
    depends = [check.name for check in host_checks.HOST if "clock" in check.needs]
    assert depends and not [name for name in depends if f" {name} " in text]
    assert text.endswith(
        "\n16 ok, 1 fail (clock)\n13 not run, because a check that they depend on failed\nexit 2\n"
    )


def test_what_needs_root_is_skipped_and_never_a_failure() -> None:
    text = record("not-root", 80).read_text()
    assert text.endswith("what needs root is checked by: sudo fairlead doctor\nexit 0\n")
    for check in host_checks.HOST:
        if check.root:
            assert f"– {check.name:<19} needs root\n" in text


def test_each_result_has_a_screen() -> None:
    text = "".join(record(state, 80).read_text() for state in STATES)
    for result in Result:
        assert f" {result.value}" in text
