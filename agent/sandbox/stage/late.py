"""Runs `fairlead` with a clock that is 10 minutes behind.

    python -m agent.sandbox.stage.late VERB …

Only this process's own reading of the clock is late: a sandbox cannot set the machine's.
"""

import runpy
import time
from typing import Final

BEHIND: Final = 600.0  # seconds

if __name__ == "__main__":
    now = time.time
    time.time = lambda: now() - BEHIND
    runpy.run_module("agent", run_name="__main__")
