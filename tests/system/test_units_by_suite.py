"""The units by each suite's own systemd: what an older one does not know is what docs/packaging.md says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.machine import Machine
from tests.system.built_packages import ROOT
from tests.system.host import SUITES

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("root")]
PYTHON, CREDENTIAL = "/usr/lib/fairlead/bin/python", "/etc/credstore/fairlead.api"
# Suite: the directives that its systemd ignores, each with the units that have it.
IGNORED = {"bullseye": {"LoadCredential=fairlead.api": ["fairlead-drain.service", "fairlead.service"]}}


@pytest.fixture(params=SUITES)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with Machine(suite=request.param) as made, made.powered():
        yield made


def test_systemd_ignores_what_the_page_says_and_nothing_else(machine: Machine) -> None:
    units = sorted((ROOT / "systemd").iterdir())
    for unit in units:
        machine.write(f"/root/units/{unit.name}", unit.read_text().replace(PYTHON, "/usr/bin/env"))
    in_a_unit = ("systemd-run", "--quiet", "--wait", "--pipe", "--setenv=SYSTEMD_LOG_COLOR=0")
    names = [f"/root/units/{unit.name}" for unit in units]
    done = machine.try_run(*in_a_unit, "systemd-analyze", "verify", *names)
    found = sorted(_line(units[0].parent, said) for said in done.stderr.splitlines())
    expected = [(name, line) for line, names in IGNORED.get(machine.suite, {}).items() for name in names]
    assert (done.returncode, found) == (0, sorted(expected))
    page = (ROOT / "docs/packaging.md").read_text()
    for directive, names in IGNORED.get(machine.suite, {}).items():
        assert [row for row in page.splitlines() if row.startswith("| `" + directive) and names[0] in row]


def _line(folder: Path, said: str) -> tuple[str, str]:
    """The unit and its line that a warning is about: "/root/units/a.service:24: Invalid syntax, ignoring: x"."""
    place, number, _ = said.split(":", 2)
    name = Path(place).name
    return name, (folder / name).read_text().splitlines()[int(number) - 1]


def test_the_drop_in_of_the_page_loads_the_credential(machine: Machine) -> None:
    """On every version, older ones included."""
    page = (ROOT / "docs/packaging.md").read_text()
    (drop_in,) = [block for block in page.split("```") if f"{CREDENTIAL}\n" in block]
    machine.write(CREDENTIAL, "secret", mode=0o600)
    unit = "/run/systemd/system/reader.service"
    machine.write(unit, '[Service]\nType=oneshot\nUser=nobody\nExecStart=sh -c "cat $CREDENTIALS_DIRECTORY/*"\n')
    machine.write(f"{unit}.d/credential.conf", drop_in.removeprefix("ini"))
    machine.systemctl("daemon-reload")
    machine.systemctl("start", "reader.service")
    machine.run("journalctl", "--sync")
    assert "secret" in machine.journal("reader.service")
