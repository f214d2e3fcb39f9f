"""The contract of ports.ReadyRecord: by a variable, and by root's file through the real privileged helper."""

from pathlib import Path

import pytest

from agent.adapters.helper import Helper
from agent.adapters.ready_record import HelperReadyRecord
from agent.core import failure
from agent.core.reasons import Reason
from agent.ports import ReadyRecord, Trouble
from tests.fakes.ready_record import MemoryReadyRecord
from tests.privileged.hosts import CONFIG

MEMBER = failure.record("shop", "db-1", "spiffe://td/db-1")


@pytest.fixture
def behind_helper(root: None, tmp_path: Path) -> HelperReadyRecord:
    (tmp_path / "etc/fairlead").mkdir(parents=True)
    (tmp_path / "etc/fairlead/fairlead.toml").write_text(CONFIG)
    return HelperReadyRecord(str(tmp_path), Helper(str(tmp_path)), MEMBER)


@pytest.fixture(params=["memory", pytest.param("helper", marks=pytest.mark.real)])
def record(request: pytest.FixtureRequest) -> ReadyRecord:
    if request.param == "memory":
        return MemoryReadyRecord()
    made: HelperReadyRecord = request.getfixturevalue("behind_helper")
    return made


async def test_without_a_record_it_was_never_ready(record: ReadyRecord) -> None:
    assert await record.read() is False


async def test_what_was_recorded_is_read(record: ReadyRecord) -> None:
    for _ in range(2):
        assert await record.write() is True
        assert await record.read() is True


async def test_the_record_is_of_one_member(behind_helper: HelperReadyRecord, tmp_path: Path) -> None:
    await behind_helper.write()
    other = failure.record("shop", "db-1", "spiffe://td/other")
    assert await HelperReadyRecord(str(tmp_path), Helper("/nonexistent"), MEMBER).read() is True
    assert await HelperReadyRecord(str(tmp_path), Helper("/nonexistent"), other).read() is False


async def test_what_cannot_be_read_or_written_is_trouble(behind_helper: HelperReadyRecord, tmp_path: Path) -> None:
    (tmp_path / "var/lib/fairlead/ready-once").mkdir(parents=True)
    with pytest.raises(Trouble) as caught:
        await behind_helper.read()
    assert caught.value.detail.endswith("ready-once: Is a directory")
    with pytest.raises(Trouble) as caught:
        await behind_helper.write()
    assert caught.value.reason is Reason.STATE_UNWRITABLE
