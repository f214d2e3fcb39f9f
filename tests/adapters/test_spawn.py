"""Helper programs: told what they need, explained when they fail, and never left behind."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agent.adapters import spawn


async def run(script: str, *, input: bytes = b"", within: float = 10) -> spawn.Finished:
    return await spawn.run(["/bin/sh", "-c", script], input=input, within=within)


async def test_what_a_program_said() -> None:
    done = await run("cat; echo oh >&2; exit 3", input=b"hello")
    assert (done.code, done.output, done.errors) == (3, b"hello", b"oh\n")


@pytest.mark.parametrize(
    ("script", "explained"),
    [
        ("echo first >&2; echo 'no space left' >&2; echo >&2; exit 2", "/bin/sh: exit 2: no space left"),
        ("exit 1", "/bin/sh: exit 1: it said nothing"),
        ("kill -KILL $$", "/bin/sh: killed by SIGKILL: it said nothing"),
    ],
)
async def test_how_it_ended_is_explained(script: str, explained: str) -> None:
    assert (await run(script)).explain() == explained


@pytest.mark.parametrize(
    ("program", "cause"), [("/nonexistent", "No such file or directory"), ("/etc/passwd", "Permission denied")]
)
async def test_what_cannot_be_started_is_explained(program: str, cause: str) -> None:
    with pytest.raises(spawn.SpawnError, match=f"cannot run {program}: {cause}"):
        await spawn.run([program], within=10)


async def test_it_inherits_no_environment() -> None:
    done = await spawn.run(["/usr/bin/env"], within=10)
    assert set(done.output.decode().splitlines()) == {f"{key}={value}" for key, value in spawn.ENVIRONMENT.items()}


async def test_it_runs_as_another_user_with_no_group_more(root: None) -> None:
    done = await spawn.run(["/bin/sh", "-c", "id -u; id -G"], within=10, owner=(2101, 2101))
    assert done.output == b"2101\n2101\n"


async def test_input_that_nobody_reads_is_no_trouble() -> None:
    assert (await run("exit 0", input=b"x" * 1_000_000)).code == 0


async def test_output_without_end_is_kept_in_part() -> None:
    done = await run(f"head -c {3 * spawn.MOST} /dev/zero; head -c {3 * spawn.MOST} /dev/zero >&2")
    assert (len(done.output), len(done.errors)) == (spawn.MOST, spawn.MOST)


# nothing is left behind ------------------------------------------------------------------------------


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[int]:
    """A named pipe; its reader sees the end when the last process that holds it open is gone."""
    path = tmp_path / "held"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield descriptor
    os.close(descriptor)


def holding(folder: Path) -> str:
    """A program with a child that outlives it, both holding the pipe open."""
    return f"exec 9>{folder}/held; sleep 1000 & echo started >&9; sleep 1000"


async def all_gone(pipe: int) -> bool:
    """Whether everybody let the pipe go; waits for that, but not for ever."""
    ended, loop = asyncio.Event(), asyncio.get_running_loop()

    def readable() -> None:
        with suppress(BlockingIOError):  # somebody holds it, and says nothing
            if os.read(pipe, 100) == b"":
                ended.set()

    readable()
    loop.add_reader(pipe, readable)
    try:
        await asyncio.wait_for(ended.wait(), 10)
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(pipe)
    return True


async def started(pipe: int) -> None:
    arrived, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(pipe, arrived.set)
    await asyncio.wait_for(arrived.wait(), 10)
    loop.remove_reader(pipe)
    assert os.read(pipe, 100) == b"started\n"


async def test_a_program_that_takes_too_long_is_ended_with_its_children(pipe: int, tmp_path: Path) -> None:
    with pytest.raises(spawn.SpawnError, match=r"cannot run /bin/sh: no end within 0.2 s"):
        await run(holding(tmp_path), within=0.2)
    assert await all_gone(pipe)


async def test_a_caller_that_gives_up_takes_it_along(pipe: int, tmp_path: Path) -> None:
    task = asyncio.create_task(run(holding(tmp_path)))
    await started(pipe)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await all_gone(pipe)


async def test_a_caller_that_gives_up_at_once_takes_it_along(pipe: int, tmp_path: Path) -> None:
    task = asyncio.create_task(run(holding(tmp_path)))
    await asyncio.sleep(0)  # the program is being started
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await all_gone(pipe)


async def test_a_child_that_keeps_the_output_open_is_ended_too(pipe: int, tmp_path: Path) -> None:
    script = f"exec 9>{tmp_path}/held; sleep 1000 & exit 0"
    with pytest.raises(spawn.SpawnError, match="no end within"):
        await run(script, within=0.2)
    assert await all_gone(pipe)


async def test_it_is_out_of_reach_of_the_terminals_signals() -> None:
    done = await run("ps -o pid=,sid= -p $$")
    pid, session = done.output.split()
    assert pid == session


def test_signal_names_are_known() -> None:
    assert spawn.Finished("x", -signal.SIGTERM, b"", b"gone\n").explain() == "x: killed by SIGTERM: gone"
