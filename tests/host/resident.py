"""Runs the agent as `start_agent` does, and on SIGUSR2 writes its modules, threads and descriptors:
python -m tests.host.resident FILE PYTHON -m agent ARGUMENTS"""

import json
import runpy
import signal
import sys
import threading
from pathlib import Path


def main(file: str, python: str, option: str, module: str, *arguments: str) -> None:
    def tell(number: int, frame: object) -> None:
        held = {"modules": list(sys.modules), "threads": threads(), "descriptors": descriptors()}
        Path(f"{file}~").write_text(json.dumps(held))
        Path(f"{file}~").rename(file)

    signal.signal(signal.SIGUSR2, tell)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def threads() -> list[str]:
    """Also those that Python did not start."""
    names = {one.native_id: one.name for one in threading.enumerate()}
    return [names.get(int(path.name), "foreign") for path in Path("/proc/self/task").iterdir()]


def descriptors() -> list[str]:
    """What each leads to."""
    return [_target(path) for path in Path("/proc/self/fd").iterdir()]


def _target(path: Path) -> str:
    try:
        return str(path.readlink())
    except FileNotFoundError:  # the one of this listing
        return ""


if __name__ == "__main__":
    main(*sys.argv[1:])
