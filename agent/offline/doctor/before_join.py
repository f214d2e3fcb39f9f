"""A host as a bundle would make it, below a folder of its own, so that the same checks run before it joins."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from agent.core.doctor.check import Finding
from agent.host import Host, reading
from agent.offline.doctor import main
from agent.offline.doctor.main import Wanted
from agent.offline.join import Plan


def examine(prefix: str, plan: Plan, wanted: Wanted) -> tuple[Finding, ...]:
    """Raises KeyError, OSError."""
    with _made(prefix, plan) as made:
        return main.examine(str(made), replace(wanted, joined=False))


@contextmanager
def _made(prefix: str, plan: Plan) -> Iterator[Path]:
    """With the configuration that would be written and the bundle's files; proxy and machine are this host's."""
    place = Path(tempfile.mkdtemp(prefix="fairlead-doctor-"))
    try:
        place.chmod(0o755)  # users of other checks read it
        here, made = Host.below(prefix), Host(place)
        made.configuration.parent.mkdir(parents=True)
        made.state.mkdir(parents=True)
        text = plan.writes.get(here.configuration)
        if text is None:
            text = reading.text(here.configuration, reading.DOCUMENT, links=True)
        for name, content in plan.bundle.files.items():
            path = made.configuration.parent / name
            path.write_text(content)
            text = text.replace(f'"/etc/fairlead/{name}"', f'"{path}"')
        made.configuration.write_text(text)
        made.proxy_versions.symlink_to(here.proxy_versions)
        (place / "etc/machine-id").symlink_to(here.prefix / "etc/machine-id")
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
