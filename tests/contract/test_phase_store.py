"""The contract of ports.PhaseStore: by a variable, and by root's file through the real helper."""

from pathlib import Path

import pytest

from agent.adapters.helper import Helper
from agent.adapters.phase import HelperPhaseStore
from agent.core.facts import PhaseKind
from agent.core.reasons import Reason
from agent.ports import PhaseStore, Trouble
from tests.fakes.phase import MemoryPhaseStore

REMEMBERED = [PhaseKind.DRAINED, PhaseKind.LEFT, PhaseKind.MEMBER]


@pytest.fixture
def behind_helper(root: None, tmp_path: Path) -> HelperPhaseStore:
    return HelperPhaseStore(str(tmp_path), Helper(str(tmp_path)))


@pytest.fixture(params=["memory", pytest.param("helper", marks=pytest.mark.real)])
def store(request: pytest.FixtureRequest) -> PhaseStore:
    if request.param == "memory":
        return MemoryPhaseStore()
    made: HelperPhaseStore = request.getfixturevalue("behind_helper")
    return made


async def test_no_record_is_a_member(store: PhaseStore) -> None:
    assert await store.read() is PhaseKind.MEMBER


async def test_what_was_written_is_read(store: PhaseStore) -> None:
    for phase in REMEMBERED:
        await store.write(phase)
        assert await store.read() is phase


async def test_another_process_reads_it(behind_helper: HelperPhaseStore, tmp_path: Path) -> None:
    await behind_helper.write(PhaseKind.LEFT)
    assert await HelperPhaseStore(str(tmp_path), Helper("/nonexistent")).read() is PhaseKind.LEFT


@pytest.mark.parametrize(
    "record", [b"", b"gone\n", b"left\nmember\n", b"shutting-down\n", b"\xff\xfe", b"x" * 1000]
)
async def test_a_record_that_says_nothing_known_is_trouble_and_can_be_mended(
    behind_helper: HelperPhaseStore, tmp_path: Path, record: bytes
) -> None:
    await behind_helper.write(PhaseKind.LEFT)
    (tmp_path / "var/lib/fairlead/phase").write_bytes(record)
    with pytest.raises(Trouble) as caught:
        await behind_helper.read()
    assert caught.value.reason is Reason.PHASE_UNREADABLE
    await behind_helper.write(PhaseKind.MEMBER)
    assert await behind_helper.read() is PhaseKind.MEMBER


async def test_a_record_that_cannot_be_read_is_trouble(behind_helper: HelperPhaseStore, tmp_path: Path) -> None:
    (tmp_path / "var/lib/fairlead/phase").mkdir(parents=True)
    with pytest.raises(Trouble) as caught:
        await behind_helper.read()
    assert caught.value.reason is Reason.PHASE_UNREADABLE
    assert caught.value.detail.endswith("phase: Is a directory")


async def test_a_phase_that_cannot_be_remembered_is_trouble(
    behind_helper: HelperPhaseStore, tmp_path: Path
) -> None:
    (tmp_path / "var").write_text("no directory")
    with pytest.raises(Trouble) as caught:
        await behind_helper.write(PhaseKind.LEFT)
    assert caught.value.reason is Reason.PHASE_UNWRITABLE


async def test_shutting_down_is_for_this_boot_only_and_never_remembered(behind_helper: HelperPhaseStore) -> None:
    with pytest.raises(Trouble):
        await behind_helper.write(PhaseKind.SHUTTING_DOWN)
    assert await behind_helper.read() is PhaseKind.MEMBER
