"""The contents of the package: every file with its path, owner and source."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import manual
import wheels
from interpreter import Part

ROOT = Path(__file__).resolve().parent.parent
FILES = Path(__file__).resolve().parent / "files"
HOME = "/usr/lib/fairlead"
PROGRAM = "bin/python"  # below it, and below each version's own folder
DOC = "/usr/share/doc/fairlead"
MAINTAINER = "The fairlead maintainers <maintainers@fairlead.dev>"
# Parts of the tree that are not for hosts: they bring an authority and an API server of their own.
NOT_FOR_HOSTS = ("sandbox",)
VERBS_NOT_FOR_HOSTS = ("sandbox",)


@dataclass(frozen=True)
class Entry:
    """One file or folder of the package. `kind`: "" a file, "dir", or nfpm's other types."""

    destination: str
    source: Path | None
    mode: int = 0o644
    kind: str = ""
    only: str = ""  # for one kind of package

    def told(self) -> dict[str, Any]:
        """As nfpm reads it."""
        info = {"mode": self.mode, "owner": "root", "group": "root"}
        found: dict[str, Any] = {"dst": self.destination, "type": self.kind, "file_info": info}
        if self.source is not None:
            found["src"] = str(self.source)
        return found | ({"packager": self.only} if self.only else {})


def tree(source: Path, destination: str) -> Iterator[Entry]:
    """A folder as it is. What is in a folder `bin` may be executed, and nothing else."""
    yield Entry(destination, None, 0o755, "dir")
    for path in sorted(source.rglob("*")):
        there = f"{destination}/{path.relative_to(source)}"
        if path.is_dir():
            yield Entry(there, None, 0o755, "dir")
        else:
            yield Entry(there, path, 0o755 if path.parent.name == "bin" else 0o644)


def whole(version: str, *trees: Iterator[Entry]) -> Iterator[Entry]:
    """One version's private tree (`trees`: as if it lay at the root), in a folder that is named after all that is
    in it, and the link by which everything starts.

    dpkg and rpm put new files in place in the order of their names, then remove old ones. So an upgrade puts a
    whole tree beside the one in use, switches the link, and removes the old tree: what starts, at any time and
    after a power cut, is of one version. The interpreter finds its modules from where the link leads, so running
    programs keep their version.
    """
    found = {one.destination: one for tree in trees for one in tree}
    digest = hashlib.sha256()
    for path in sorted(found):
        source = found[path].source
        digest.update(path.encode() + b"\0" + (hashlib.sha256(source.read_bytes()).digest() if source else b""))
    folder = f"{version}-{digest.hexdigest()[:12]}"
    # After every digit comes "b".
    assert folder < PROGRAM, f"cannot name a version {version}: its tree would come after the link to it"
    for one in found.values():
        yield replace(one, destination=f"{HOME}/{folder}{one.destination}")
    yield Entry(f"{HOME}/{PROGRAM}", Path(f"../{folder}/{PROGRAM}"), 0o777, "symlink")


def document(destination: str, source: Path) -> Iterator[Entry]:
    """rpm marks what is documentation; dpkg has no equivalent, and nfpm leaves such a file out there."""
    yield Entry(destination, source, only="deb")
    yield Entry(destination, source, kind="doc", only="rpm")


def plain(stage: Path, version: str, page: str) -> Iterator[Entry]:
    """All but the interpreter, the wheels and the agent. `stage`: where generated files are written."""
    yield Entry("/usr/bin/fairlead", FILES / "fairlead", 0o755)
    yield Entry("/usr/bin/kubectl-fairlead", FILES / "kubectl-fairlead", 0o755)
    for path in sorted((ROOT / "systemd").iterdir()):
        yield Entry(f"/usr/lib/systemd/system/{path.name}", path)
    for unit in ("firewalld", "nftables"):
        yield Entry(f"/usr/lib/systemd/system/{unit}.service.d/fairlead.conf", FILES / "firewall.conf")
    yield Entry("/usr/lib/sysusers.d/fairlead.conf", FILES / "sysusers.conf")
    yield Entry("/usr/lib/tmpfiles.d/fairlead.conf", FILES / "tmpfiles.conf")
    yield Entry("/etc/needrestart/conf.d/fairlead.conf", FILES / "needrestart.conf", kind="config|noreplace")
    yield Entry("/etc/ufw/applications.d/fairlead", ROOT / "config/ufw/fairlead", kind="config|noreplace")
    yield Entry("/usr/lib/firewalld/services/fairlead.xml", ROOT / "config/firewalld/fairlead.xml")
    yield from documents(stage, page)
    yield from _manuals(stage, version)
    yield from _completions(stage)


def documents(stage: Path, page: str) -> Iterator[Entry]:
    for folder in (
        DOC,
        f"{DOC}/config",
        f"{DOC}/config/cluster",
        f"{DOC}/config/monitoring",
        f"{DOC}/config/spire",
        f"{DOC}/docs",
        f"{DOC}/examples",
        f"{DOC}/licences",
    ):
        yield Entry(folder, None, 0o755, "dir")
    yield from document(f"{DOC}/copyright", _write(stage / "copyright", page))
    yield from document(f"{DOC}/examples/fairlead.toml", ROOT / "config/fairlead.toml")
    for name in ("README.md", "LICENSE", "config/minimal.toml"):
        yield from document(f"{DOC}/{name}", ROOT / name)
    # Where the documents' links lead; rpmlint refuses the same file twice.
    yield Entry(f"{DOC}/config/fairlead.toml", Path("../examples/fairlead.toml"), 0o777, "symlink")
    for folder in ("config/cluster", "config/monitoring", "config/spire"):
        for path in sorted((ROOT / folder).iterdir()):
            yield from document(f"{DOC}/{folder}/{path.name}", path)
    for path in (*sorted((ROOT / "docs").glob("*.md")), ROOT / "docs/openapi.json"):
        yield from document(f"{DOC}/docs/{path.name}", path)
    yield Entry("/usr/share/lintian/overrides/fairlead", FILES / "lintian-overrides", only="deb")


def _manuals(stage: Path, version: str) -> Iterator[Entry]:
    pages = {
        "man1/fairlead.1": manual.command(parser(), version),
        "man5/fairlead.toml.5": manual.configuration((ROOT / "config/fairlead.toml").read_text(), version),
        "man8/fairlead.service.8": (FILES / "fairlead.service.8").read_text(),
    }
    for name, text in pages.items():
        path = stage / f"{Path(name).name}.gz"
        path.write_bytes(gzip.compress(text.encode(), mtime=0))
        yield from document(f"/usr/share/man/{name}.gz", path)


def _completions(stage: Path) -> Iterator[Entry]:
    shtab = importlib.import_module("shtab")
    bash, zsh, fish = (
        _write(stage / f"fairlead.{s}", shtab.complete(parser(), s)) for s in ("bash", "zsh", "fish")
    )
    yield Entry("/usr/share/bash-completion/completions/fairlead", bash)
    yield Entry("/usr/share/zsh/vendor-completions/_fairlead", zsh, only="deb")
    yield Entry("/usr/share/zsh/site-functions/_fairlead", zsh, only="rpm")
    yield Entry("/usr/share/fish/vendor_completions.d/fairlead.fish", fish)


def parser() -> Any:
    """The command's own parser, as a host has it."""
    sys.path.insert(0, str(ROOT))
    main = importlib.import_module("agent.cli.main")
    verbs = [verb for verb in main.VERBS if verb not in VERBS_NOT_FOR_HOSTS]
    return main.build_parser(verbs)


def agent(stage: Path, version: str) -> Path:
    """The agent's own code, below a folder that can be compiled; it says the version that the package has."""
    for path in sorted((ROOT / "agent").rglob("*.py")):
        inside = path.relative_to(ROOT)
        if inside.parts[1] not in NOT_FOR_HOSTS:
            text = path.read_text()
            if inside == Path("agent/__init__.py"):
                text = text.replace(f'"{own_version()}"', f'"{version}"')
            _write(stage / inside, text)
    return stage


def own_version() -> str:
    sys.path.insert(0, str(ROOT))
    return str(importlib.import_module("agent").__version__)


def copyright_page(parts: Sequence[Part], tree: Path) -> str:
    """What is in the package, and under which licence."""
    lines = ["fairlead: Copyright 2026 the authors of fairlead. License: Apache-2.0"]
    lines += ["(on Debian systems its text is in /usr/share/common-licenses/Apache-2.0)", ""]
    lines += ["It comes with an interpreter, copied from these packages of a distribution;"]
    lines += [f"their own pages are below {DOC}/licences:", ""]
    lines += [f"  {part.name} {part.version}" for part in parts]
    lines += ["", "and with these Python packages; their licences are in *.dist-info below /usr/lib/fairlead:", ""]
    lines += [f"  {name} {version} ({licence})" for name, version, licence in wheels.names(tree)]
    return "\n".join([*lines, ""])


def licences(root: Path, parts: Sequence[Part]) -> Iterator[Entry]:
    for part in parts:
        path = root / "usr/share/doc" / part.name / "copyright"
        if path.exists():
            yield from document(f"{DOC}/licences/{part.name}", path.resolve())


def inventory(stage: Path, text: str) -> Iterator[Entry]:
    yield from document(f"{DOC}/sbom.cdx.json", _write(inventory_path(stage), text))


def inventory_path(stage: Path) -> Path:
    return stage / "sbom.cdx.json"


def changelog(stage: Path, version: str, epoch: int) -> Iterator[Entry]:
    """One entry: the changes are in the repository, and in docs/ of this version."""
    date = format_datetime(datetime.fromtimestamp(epoch, UTC))
    text = f"fairlead ({version}) stable; urgency=medium\n\n  * Version {version}.\n\n -- {MAINTAINER}  {date}\n"
    path = stage / "changelog.gz"
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    yield from document(f"{DOC}/changelog.gz", path)


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
