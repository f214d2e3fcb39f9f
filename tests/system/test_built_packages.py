"""The contents of the packages, before any installation."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from agent import __version__
from agent.cli import main
from tests.lab.realparts import where
from tests.system import built_packages

pytestmark = pytest.mark.real
ROOT = built_packages.ROOT
VERBS = sorted(verb for verb in main.VERBS if verb != "sandbox")


def output(*argv: str | Path, code: int = 0) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, env={**os.environ})
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def library(tree: Path) -> Path:
    """Where all modules are: the one version's own."""
    (found,) = (tree / "usr/lib/fairlead").glob(f"{__version__}-*/lib/python3.*")
    return found


@pytest.fixture(scope="module")
def deb() -> Path:
    return built_packages.deb()


@pytest.fixture(scope="module")
def tree(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("tree")
    output("dpkg-deb", "--extract", deb, folder)
    yield folder
    subprocess.run(["rm", "-r", folder], check=True, env={**os.environ})


# the bytes ----------------------------------------------------------------------------------------------


def test_two_builds_give_the_same_bytes(deb: Path, tmp_path: Path) -> None:
    """The second from nothing but the root: interpreter, wheels and byte code are made again."""
    root = ("--root", str(where("python-on-bullseye")))
    said = built_packages.build(tmp_path / "again", __version__, *root, XDG_CACHE_HOME=str(tmp_path / "cache"))
    *_, runs, not_on = said.splitlines()
    for name in ("Debian 11", "Ubuntu 22.04", "RHEL 9", "Amazon Linux 2023", "SLES 15 SP4"):
        assert f" {name}," in runs, said
    assert not_on == "not on Ubuntu 20.04, RHEL 8, Amazon Linux 2, SLES 15 SP3"
    for first in (deb, built_packages.rpm()):
        assert first.read_bytes() == (tmp_path / "again" / first.name).read_bytes(), first.name


LINKS = ("/usr/lib/fairlead/bin/python", "/usr/share/doc/fairlead/config/fairlead.toml")


def test_everything_is_roots_and_nothing_is_setuid(deb: Path) -> None:
    for line in output("dpkg-deb", "--contents", deb).splitlines():
        mode, owner = line.split()[:2]
        link = mode == "lrwxrwxrwx" and any(f"{one} -> ../" in line for one in LINKS)
        assert owner == "root/root" and (link or mode in ("drwxr-xr-x", "-rw-r--r--", "-rwxr-xr-x")), line


def test_it_lies_in_few_places(tree: Path) -> None:
    files = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}
    own = ("usr/lib/fairlead/", "usr/share/doc/fairlead/")
    assert sorted(f for f in files if not f.startswith(own)) == sorted(
        [
            *("etc/needrestart/conf.d/fairlead.conf", "etc/ufw/applications.d/fairlead", "usr/bin/fairlead"),
            "usr/bin/kubectl-fairlead",
            *(f"usr/lib/systemd/system/{path.name}" for path in (ROOT / "systemd").iterdir()),
            *("usr/lib/firewalld/services/fairlead.xml", "usr/lib/sysusers.d/fairlead.conf"),
            *(f"usr/lib/systemd/system/{unit}.service.d/fairlead.conf" for unit in ("firewalld", "nftables")),
            *("usr/lib/tmpfiles.d/fairlead.conf", "usr/share/lintian/overrides/fairlead"),
            "usr/share/bash-completion/completions/fairlead",
            "usr/share/fish/vendor_completions.d/fairlead.fish",
            *(f"usr/share/man/{name}.gz" for name in PAGES),
            "usr/share/zsh/vendor-completions/_fairlead",
        ]
    )


def test_the_link_is_turned_when_the_whole_tree_is_there(deb: Path) -> None:
    """dpkg and rpm lay down files in the order in which the package has them."""
    query = (
        "rpm",
        "--query",
        "--package",
        "--queryformat",
        "[%{FILEMODES:perms} %{FILENAMES}\\n]",
        built_packages.rpm(),
    )
    for listed in (output("dpkg-deb", "--contents", deb), output(*query)):
        lines = [line for line in listed.splitlines() if "/usr/lib/fairlead/" in line and line[0] != "d"]
        link = next(line for line in lines if "/usr/lib/fairlead/bin/python" in line)
        assert link[0] == "l" and lines.index(link) == len(lines) - 1 > 2000
        assert all(f"/usr/lib/fairlead/{__version__}-" in line for line in lines[:-1])


def test_both_packages_hold_the_same(deb: Path) -> None:
    """But for where each family of distributions has its zsh, and lintian's own file."""
    listed = (line.split(None, 5) for line in output("dpkg-deb", "--contents", deb).splitlines())
    ours = {words[5].removeprefix(".") for words in listed if words[0].startswith("-")}
    query = ("rpm", "--query", "--package", "--queryformat", "[%{FILEMODES:perms} %{FILENAMES}\\n]")
    theirs = {
        line.split(None, 1)[1]
        for line in output(*query, built_packages.rpm()).splitlines()
        if line.startswith("-")
    }
    assert ours - theirs == {
        "/usr/share/lintian/overrides/fairlead",
        "/usr/share/zsh/vendor-completions/_fairlead",
    }
    assert theirs - ours == {"/usr/share/zsh/site-functions/_fairlead"}


# what it needs ------------------------------------------------------------------------------------------


def test_the_floor_is_what_the_files_ask_for(tree: Path, deb: Path) -> None:
    asked = {
        word.strip("()")
        for path in (tree / "usr/lib/fairlead").rglob("*")
        if path.is_file() and (".so" in path.name or path.parent.name == "bin")
        for word in output("readelf", "--version-info", "--wide", path).split()
        if word.startswith("GLIBC_2")
    }
    floor = max((word.removeprefix("GLIBC_") for word in asked), key=lambda v: [int(n) for n in v.split(".")])
    depends = output("dpkg-deb", "--field", deb, "Depends")
    assert f"libc6 (>= {floor})" in depends
    assert f"glibc {floor}" in (ROOT / "docs/packaging.md").read_text()
    requires = output("rpm", "--query", "--package", "--requires", built_packages.rpm())
    assert f"libc.so.6(GLIBC_{floor})(64bit)" in requires
    assert "python" not in depends + requires


def test_where_it_runs_is_told() -> None:
    """By the build, in its last lines, and by the page."""
    program = "import json, distributions as d; print(json.dumps([d.HAS, d.left_out((2, 31))]))"
    has, left_out = json.loads(packaging(program))
    page = (ROOT / "docs/packaging.md").read_text()
    assert len(has) > len(left_out) > 3
    for name, (glibc, systemd) in has.items():
        (row,) = [line for line in page.splitlines() if re.match(rf"\| {name}[ ,]", line) and line.count("|") == 5]
        told = row.split("|")[2:5]
        assert [word.strip() for word in told] == [
            ".".join(map(str, glibc)),
            str(systemd),
            "no" if name in left_out else "yes",
        ]


def packaging(program: str, *argv: str | Path, code: int = 0) -> str:
    return output("env", f"PYTHONPATH={ROOT}/packaging", sys.executable, "-c", program, *argv, code=code)


def test_a_package_that_asks_for_more_than_the_oldest_distribution_has_is_not_built() -> None:
    program = "import packages, steps; steps.program(lambda argv: packages.must_run_on_the_oldest((2, {})))"
    assert packaging(program.format(31)) == ""
    said = packaging(program.format(32), code=69)
    assert said.startswith(
        "cannot build the packages: their files ask for glibc 2.32, and the oldest distribution has"
    )


def test_who_cannot_make_the_usual_root_is_told_what_it_takes(tmp_path: Path) -> None:
    program = "import os; os.geteuid = lambda: 1000; os.environ['XDG_CACHE_HOME'] = '/nonexistent'\n"
    program += "import packages, steps; steps.program(lambda argv: packages.usual_root())"
    said = packaging(program, code=69)
    assert said.startswith(
        "cannot make python-on-bullseye: this takes root and debootstrap\nRun: sudo make packages"
    )


def test_a_root_that_is_newer_than_this_machine_is_refused(tmp_path: Path) -> None:
    program = "import pathlib, elf, interpreter, steps; elf.floor = lambda _: (9, 1)\n"
    program += "steps.program(lambda argv: interpreter.must_run_here(pathlib.Path(argv[0]), 'there'))"
    said = packaging(program, tmp_path, code=69)
    assert said.startswith(
        "cannot run the interpreter of there here: it requires glibc 9.1, and this machine has 2."
    )


# What Debian 11 has: the newest symbols of its compiler's libraries.
COMPILERS = {"GLIBCXX": (3, 4, 28), "CXXABI": (1, 3, 12), "GCC": (10, 0, 0)}


def test_the_compilers_libraries_of_the_oldest_distribution_are_enough(tree: Path) -> None:
    asked = output("sh", "-c", f"find {tree}/usr/lib/fairlead -name '*.so*' -exec readelf -VW {{}} +")
    for name, newest in COMPILERS.items():
        found = {tuple(map(int, one.split("."))) for one in re.findall(rf"Name: {name}_([0-9.]+)", asked)}
        assert max(found, default=(0,)) <= newest, name
        assert name != "GCC" or found


def test_it_is_for_hosts(tree: Path) -> None:
    lib = library(tree)
    assert not (lib / "agent/sandbox").exists() and not (lib / "jsonschema").exists()
    assert f'"{__version__}"' in (lib / "agent/__init__.py").read_text()


def test_every_source_has_its_byte_code(tree: Path) -> None:
    """Checked against nothing (flag 1: by hash, unchecked): the files' times are the package manager's."""
    for source in library(tree).rglob("*.py"):
        (code,) = (source.parent / "__pycache__").glob(f"{source.stem}.cpython-*.pyc")
        assert code.read_bytes()[4:8] == b"\x01\0\0\0", code


def test_its_licences_are_named(tree: Path) -> None:
    page = (tree / "usr/share/doc/fairlead/copyright").read_text()
    locked = [
        line.split("==")[0] for line in (ROOT / "packaging/package.lock").read_text().splitlines() if "==" in line
    ]
    said = page.lower().replace("_", "-")
    assert [name for name in locked if f"  {name} " not in said] == []


def test_its_inventory_names_what_is_inside(tree: Path, deb: Path) -> None:
    """As CycloneDX: each locked package, and what the copyright page says of the interpreter."""
    text = (tree / "usr/share/doc/fairlead/sbom.cdx.json").read_text()
    assert (deb.parent / f"fairlead-{__version__}-amd64.cdx.json").read_text() == text
    bom = json.loads(text)
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.5")
    links = {one["purl"] for one in bom["components"]}
    lock = (ROOT / "packaging/package.lock").read_text()
    for name, version in re.findall(r"^([\w.-]+)==([\w.]+)", lock, re.MULTILINE):
        assert f"pkg:pypi/{name.lower()}@{version}" in links
    page = (tree / "usr/share/doc/fairlead/copyright").read_text()
    for name in ("python3.11", "libssl3", "zlib1g", "libffi8", "libbz2-1.0", "liblzma5"):
        (version,) = re.findall(rf"^  {re.escape(name)} (\S+)$", page, re.MULTILINE)
        assert f"pkg:deb/debian/{name}@{quote(version)}" in links
    assert sorted(bom["dependencies"][0]["dependsOn"]) == sorted(one["bom-ref"] for one in bom["components"])


# what lints say -----------------------------------------------------------------------------------------


def test_lintian_has_nothing_to_say(deb: Path) -> None:
    assert output("lintian", "--allow-root", "--tag-display-limit", "0", deb) == ""


def test_rpmlint_has_nothing_to_say() -> None:
    said = output("rpmlint", "--config", ROOT / "packaging/files/rpmlint.toml", built_packages.rpm())
    assert "0 errors, 0 warnings" in said, said


@pytest.mark.parametrize("step", ["postinst", "prerm", "postrm"])
def test_the_maintainer_scripts_are_sound(step: str, deb: Path, tmp_path: Path) -> None:
    output("dpkg-deb", "--control", deb, tmp_path / "control")
    text = (tmp_path / "control" / step).read_text()
    assert text.startswith("#!/bin/sh\n") and len(text.splitlines()) < 80
    assert output("shellcheck", tmp_path / "control" / step) == ""
    rpm = output("rpm", "--query", "--package", "--scripts", built_packages.rpm())
    assert text.strip() in rpm, "one source for both"


# what teaches -------------------------------------------------------------------------------------------

PAGES = ("man1/fairlead.1", "man5/fairlead.toml.5", "man8/fairlead.service.8")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_well_formed(tree: Path, page: str) -> None:
    argv = ["man", "--local-file", "--warnings", "-Tutf8", "-Z", str(tree / "usr/share/man" / f"{page}.gz")]
    done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ})
    assert (done.returncode, done.stderr) == (0, "")


def text(tree: Path, page: str) -> str:
    argv = f"MANWIDTH=500 man --local-file {tree}/usr/share/man/{page}.gz | col -b"
    return output("sh", "-c", argv)


def test_every_verb_has_its_section(tree: Path) -> None:
    page = text(tree, PAGES[0])
    assert [verb for verb in VERBS if f"\n   fairlead {verb}\n" not in page] == []


def test_every_key_has_its_place(tree: Path) -> None:
    page = text(tree, PAGES[1])
    for table, keys in tomllib.loads((ROOT / "config/fairlead.toml").read_text()).items():
        assert f"\n{table.upper()}\n" in page or f"\n{table.upper()}" in page
        for key in keys[0] if isinstance(keys, list) else keys:
            assert f" {key} = " in page, (table, key)


COMPLETE = {
    "bash": """
        source {tree}/usr/share/bash-completion/completions/fairlead
        COMP_WORDS=(fairlead ''); COMP_CWORD=1
        $(complete -p fairlead | sed -E 's/.*-F ([^ ]+) .*/\\1/') fairlead
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """,
    "fish": "source {tree}/usr/share/fish/vendor_completions.d/fairlead.fish; complete -C 'fairlead '",
    # zsh completes at a terminal alone.
    "zsh": """
        zmodload zsh/zpty
        zpty z zsh -f -i
        zpty -w z "PROMPT=; fpath=({tree}/usr/share/zsh/vendor-completions \\$fpath); autoload -U compinit;" \\
            "compinit -u -D; bindkey '^I' list-choices; echo be""gin"
        zpty -r z out '*begin*begin*'
        zpty -w -n z $'fairlead \\t'
        zpty -r z out '*{last}*'
        print -r -- $out
        zpty -d z
    """,
}


@pytest.mark.parametrize("shell", COMPLETE)
def test_the_shells_complete_every_verb(tree: Path, shell: str) -> None:
    said = output(shell, "-c", COMPLETE[shell].format(tree=tree, last=VERBS[-1]))
    assert [verb for verb in VERBS if verb not in said] == []
