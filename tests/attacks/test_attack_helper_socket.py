"""The attacker has the agent's user, and swaps what systemd creates for a link while systemd gives it an owner.

What must hold: nothing that systemd or root creates lies in a folder that another user may write, so a file of
root stays root's.
"""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab import installed
from tests.lab.machine import Machine
from tests.lab.unit_machine import configure

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("root")]

SOCKET, SECRET = "fairlead-helper.socket", "/etc/fairlead/secret"
RESTARTS = 20  # in a folder of the attacker's, the first is enough
# It replaces the socket by a link as often as it can, and reports once that it has begun.
_SWAP = """
import os, stat, sys
path, target = sys.argv[1:]
mine = "/run/fairlead-push/link"
print("begun", flush=True)
while True:
    try:
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.symlink(target, mine)
            os.rename(mine, path)
    except FileNotFoundError:
        pass
    except PermissionError:
        os.unlink(mine)
"""


def test_attack_swap_of_the_helpers_socket(fresh_machine: Callable[[], Machine]) -> None:
    machine = fresh_machine()
    configure(machine)
    machine.write(SECRET, "root's alone\n", 0o600)
    with machine.powered():
        machine.systemctl("start", SOCKET)
        listen = machine.show(SOCKET, "Listen")["Listen"].split(" ")[0]
        attack = machine.command(f"{installed.PYTHON}3", "-IS", "-c", _SWAP, listen, SECRET, user="fairlead")
        with subprocess.Popen(attack, stdout=subprocess.PIPE, env={**os.environ}) as attacker:
            try:
                assert attacker.stdout is not None and attacker.stdout.readline() == b"begun\n"
                for _ in range(RESTARTS):
                    machine.try_run("systemctl", "restart", SOCKET)  # the attack may make it fail
                assert attacker.poll() is None, "it has tried to the end"
            finally:
                attacker.kill()
        assert machine.run("stat", "--format=%U:%G %a", SECRET) == "root:root 600\n"
        assert machine.run("stat", "--format=%U:%G %a %F", listen) == "fairlead:root 600 socket\n"
        folder = str(Path(listen).parent)
        assert machine.run("stat", "--format=%U:%G %a", folder) == "root:root 755\n"
