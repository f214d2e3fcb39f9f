"""Runs one request of the privileged helper in this process and counts what it takes, on standard error:
python -IS tests/lab/counting.py TREE PREFIX"""

import json
import runpy
import sys
from types import FrameType
from typing import Any

counted = {"opcodes": 0, "programs": 0}


def trace(frame: FrameType, event: str, argument: object) -> Any:
    frame.f_trace_opcodes = True
    counted["opcodes"] += event == "opcode"
    return trace


def hear(event: str, arguments: object) -> None:
    counted["programs"] += event == "subprocess.Popen"


def main(tree: str, prefix: str) -> None:
    before = set(sys.modules)
    sys.path.insert(0, tree)
    sys.argv = ["helper", "--prefix", prefix]
    sys.addaudithook(hear)
    sys.settrace(trace)
    try:
        runpy.run_module("agent.privileged.helper", run_name="__main__", alter_sys=True)
    finally:
        sys.settrace(None)
        held = {*before, *sys.modules} - {"agent.privileged.helper.__main__"}
        print(json.dumps({**counted, "modules": len(held)}), file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
