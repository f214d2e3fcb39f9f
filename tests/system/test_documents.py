"""The commands of README and docs/ as they are shown, on a booted machine: one page after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import proxy_deliveries
from tests.lab.machine import Machine
from tests.system import built_packages
from tests.system import host as on_host
from tests.system.archives import archives_without_secrets
from tests.system.documented_commands import RUN
from tests.system.host import SUITES, configure

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("root")]
# What a host has and these machines do not.
SUDO = '#!/bin/sh\nif [ "$1" = -u ]; then user=$2; shift 2; exec runuser -u "$user" -- "$@"; fi\nexec "$@"\n'
JQ = """\
#!/bin/sh
exec /usr/lib/fairlead/*/bin/python -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1][1:]])' "$1"
"""


@pytest.fixture(params=SUITES)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with on_host.booted(request.param) as host:
        host.write("/usr/local/bin/sudo", SUDO, mode=0o755)
        host.write("/usr/local/bin/jq", JQ, mode=0o755)
        on_host.put(host, built_packages.deb())
        yield host


def _delivered(host: Machine) -> dict[str, str]:
    """A release and an image of the stand-in; what the page's placeholder stands for."""
    here = host.path("/root")
    archive, digest = proxy_deliveries.release(here)
    archive.with_name(archive.name + ".txt").write_text(f"{digest}  {archive.name}\n")
    return {"MANIFEST-DIGEST": proxy_deliveries.layout(Path(here / "image"), proxy_deliveries.image())}


def _nothing(host: Machine) -> dict[str, str]:
    return {}


def _not_yet_redirected(host: Machine) -> dict[str, str]:
    """What is in force already is not put on trial, so there would be nothing to confirm."""
    host.systemctl("stop", "fairlead")
    host.run("fairlead", "redirect", "remove")
    return {}


def _started(host: Machine) -> dict[str, str]:
    host.systemctl("start", "fairlead")
    return {}


PREPARED: dict[str, Callable[[Machine], dict[str, str]]] = {
    "docs/proxy.md": _delivered,
    "docs/redirect.md": _not_yet_redirected,
    "docs/security.md": _started,
}


def test_the_commands_of_the_documents(machine: Machine) -> None:
    for page, texts in RUN.items():
        words = PREPARED.get(page, _nothing)(machine)
        for text, code in texts.items():
            _type(machine, page, _filled(text, words), code)
            if " dpkg -i " in text:  # what is between this command and the next one on the page
                configure(machine)
                machine.systemctl("start", "fairlead")
    if machine.suite == SUITES[0]:
        archives_without_secrets(machine)


def _filled(text: str, words: dict[str, str]) -> str:
    for placeholder, value in words.items():
        text = text.replace(placeholder, value)
    return text


def _type(host: Machine, page: str, text: str, code: int) -> None:
    done = host.try_run("sh", "-c", f"cd /root && {text}", within=120)
    assert done.returncode == code, f"{page}: {text}\n{done.returncode}\n{done.stdout}{done.stderr}"
