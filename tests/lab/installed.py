"""fairlead on a machine as its package would put it there, from this checkout and its virtual environment.

A private interpreter under /usr/lib/fairlead, the two users, the units. None of it lies in a home: the units are
kept out of those.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

from tests.lab.machine import Machine

CHECKOUT = Path(__file__).resolve().parents[2]
LIBRARY = "/usr/lib/fairlead/lib"
PYTHON = "/usr/lib/fairlead/bin/python"
_BASE = "/usr/lib/fairlead/base"
_VERSION = f"python{sys.version_info[0]}.{sys.version_info[1]}"
_CACHE = "/var/cache/fairlead-python"
# The package's interpreter has everything beside its standard library, so the units ask for the bare one (-IS).
_PROGRAM = f"""\
#!/bin/sh
[ "$1" = -IS ] || exec {PYTHON}3 "$@"
shift
PYTHONPATH={LIBRARY}:{LIBRARY}/{_VERSION}/site-packages exec {PYTHON}3 -SP "$@"
"""
PUSHERS = 2104
USERS = {"fairlead": 2101, "fairlead-proxy": 2102, "app": 2103}

# Read-only in the machine: the interpreter that runs this, its packages, and fairlead.
BINDS = (
    (Path(sys.base_prefix), _BASE),
    (Path(sysconfig.get_path("purelib")), f"{LIBRARY}/{_VERSION}/site-packages"),
    (CHECKOUT / "agent", f"{LIBRARY}/agent"),
    (CHECKOUT / "tests", f"{LIBRARY}/tests"),
)


def install(machine: Machine) -> None:
    """Before its first boot. Units are there and none is enabled."""
    users = [f"{name}:x:{uid}:{uid}::/:/usr/sbin/nologin" for name, uid in USERS.items()]
    groups = [f"{name}:x:{gid}:" for name, gid in {**USERS, "fairlead-push": PUSHERS}.items()]
    for path, lines in (("/etc/passwd", users), ("/etc/group", groups)):
        machine.write(path, machine.read(path) + "".join(f"{line}\n" for line in lines))
    tmpfiles = (CHECKOUT / "packaging/files/tmpfiles.conf").read_text()
    machine.write("/usr/lib/tmpfiles.d/fairlead.conf", tmpfiles)
    # An interpreter that was built as a shared library looks for that in its own old place, and then here.
    for library in (Path(sys.base_prefix) / "lib").glob("libpython*.so.*"):
        machine.path(f"/usr/lib/{library.name}").symlink_to(f"{_BASE}/lib/{library.name}")
    machine.write("/usr/lib/fairlead/pyvenv.cfg", f"home = {_BASE}/bin\n")
    machine.write(PYTHON, _PROGRAM, 0o755)
    machine.path(f"{PYTHON}3").symlink_to(f"{_BASE}/bin/{_VERSION}")
    machine.write("/usr/bin/fairlead", f'#!/bin/sh\nexec {PYTHON} -IS -m agent "$@"\n', 0o755)
    # The checkout brings no compiled modules, as a package does: each is compiled once, at its first use by root.
    machine.path(_CACHE).mkdir(mode=0o755, parents=True)
    variables = f"PYTHONPYCACHEPREFIX={_CACHE}"
    machine.write("/etc/systemd/system.conf.d/python.conf", f"[Manager]\nDefaultEnvironment={variables}\n")
    for unit in (CHECKOUT / "systemd").iterdir():
        machine.write(f"/usr/lib/systemd/system/{unit.name}", unit.read_text())


def compile(machine: Machine) -> None:
    """On a booted one: what its units run starts in a third of the time."""
    modules = (
        "agent.proxyunit.launcher",
        "agent.proxyunit.start",
        "agent.proxyunit.at_once",
        "agent.proxyunit.arm",
        "agent.proxyunit.ended",
        "agent.proxyunit.takeover",
        "agent.privileged.helper.__main__",
        "agent.proxyunit.hooks",
        "agent.proxyunit.gate",
        "agent.offline.preflight",
    )
    program = f"import {', '.join(modules)}"
    machine.run("env", f"PYTHONPYCACHEPREFIX={_CACHE}", PYTHON, "-IS", "-c", program)
