"""Runs the agent as `start_agent` does, and on SIGUSR2 writes which modules it has:
python -m tests.host.resident FILE PYTHON -m agent ARGUMENTS"""

import runpy
import signal
import sys
from pathlib import Path


def main(file: str, python: str, option: str, module: str, *arguments: str) -> None:
    def tell(number: int, frame: object) -> None:
        Path(f"{file}~").write_text("\n".join(sys.modules))
        Path(f"{file}~").rename(file)

    signal.signal(signal.SIGUSR2, tell)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
