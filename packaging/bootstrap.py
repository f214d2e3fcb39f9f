"""Makes a checkout ready to run, from a machine with only python3 and make.

    python3 packaging/bootstrap.py sandbox    what `make sandbox` needs
    python3 packaging/bootstrap.py test       what `make test` needs, but for the real parts (realparts.py)

Standard library only, and harmless to repeat: when nothing changed it looks at a stamp and returns.
Exit codes: 64 wrong command line, 69 something is missing, 70 a step failed, 77 root is needed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import sys
from pathlib import Path

import steps
from steps import Trouble

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
IN_USE = ROOT / ".venv.flock"
PACKAGES_STAMP = VENV / "packages-ready"
PROJECT_STAMP = VENV / "project-ready"
OLDEST = (3, 11)

LOCKS = {"sandbox": ROOT / "requirements.lock", "test": ROOT / "requirements-dev.lock"}

# A program, and the Debian package that brings it.
TOOLS = {
    "sandbox": {"nft": "nftables", "ip": "iproute2", "unshare": "util-linux", "flock": "util-linux"},
    "test": {
        "nft": "nftables",
        "iptables-legacy": "iptables",  # the kind called nft too
        "ip": "iproute2",
        "unshare": "util-linux",
        "flock": "util-linux",
        "setpriv": "util-linux",
        "pgrep": "procps",
        "systemd-analyze": "systemd",
        "systemd-nspawn": "systemd-container",
        "debootstrap": "debootstrap",
        "git": "git",
        "lintian": "lintian",
        "rpmlint": "rpmlint",
        "rpm": "rpm",
        "gpg": "gnupg",
        "createrepo_c": "createrepo-c",
        "dnf": "dnf",
        "qemu-aarch64-static": "qemu-user-static",
        "shellcheck": "shellcheck",
        "zsh": "zsh",
        "fish": "fish",
        "man": "man-db",
        "promtool": "prometheus",
        "kubectl": "kubernetes-client",
    },
}
# Debian keeps some of these out of an ordinary user's PATH.
SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
# Python's wheels bring their own certificates; Go asks the system for them.
CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def main(args: list[str]) -> None:
    if len(args) != 1 or args[0] not in LOCKS:
        raise Trouble("cannot read the command line: one word is expected", "Say sandbox or test.", steps.USAGE)
    level = args[0]
    check_python()
    if level == "sandbox":
        check_root()
    install_packages(missing_packages(level))
    if not is_ready(level):
        with steps.lock(steps.cache() / "setup.lock", "waiting for another set-up to end"):
            if not is_ready(level):
                prepare(level)


def check_python() -> None:
    if sys.version_info[:2] >= OLDEST:
        return
    oldest, found = ".".join(map(str, OLDEST)), ".".join(map(str, sys.version_info[:3]))
    raise Trouble(
        f"cannot use {sys.executable}: it is Python {found}, and fairlead needs {oldest} or newer",
        f"Install a newer one, then name it: sudo apt-get install python{oldest} python{oldest}-venv"
        f" && make {wanted()} PYTHON=python{oldest}",
    )


def check_root() -> None:
    if os.geteuid() != 0:
        raise Trouble(
            "cannot make network namespaces: this needs root",
            f"Run: sudo make {wanted()}",
            steps.NO_PERMISSION,
        )


def wanted() -> str:
    """The goal of the `make` that called, as it was typed (make exports what stood on its command line)."""
    args = os.environ.get("ARGS", "")
    return f'{sys.argv[1]} ARGS="{args}"' if args else sys.argv[1]


def missing_packages(level: str) -> list[str]:
    packages = {package for tool, package in TOOLS[level].items() if not shutil.which(tool, path=SEARCH)}
    if level == "test" and not any(Path(path).exists() for path in CERTIFICATES):
        packages.add("ca-certificates")
    if not has_packages(level) and importlib.util.find_spec("ensurepip") is None:
        packages.add(f"python{sys.version_info[0]}.{sys.version_info[1]}-venv")
    return sorted(packages)


def install_packages(packages: list[str]) -> None:
    if not packages:
        return
    names = " ".join(packages)
    if not shutil.which("apt-get"):
        raise Trouble(
            f"cannot go on without {names}: no apt-get here", "Install the same with this system's means."
        )
    command = f"sudo apt-get update && sudo apt-get install {names}"
    if os.geteuid() != 0:
        raise Trouble(f"cannot go on without {names}: installing needs root", f"Run: {command}")
    apt = ["apt-get", "-y", "-o", "DPkg::Lock::Timeout=120"]
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    steps.run(
        "refreshing the package lists", "refresh the package lists", [*apt, "update"], f"Try: {command}", env
    )
    install = [*apt, "install", "--no-install-recommends", *packages]
    steps.run(f"installing {names}", f"install {names}", install, f"Try: {command}", env)


def is_ready(level: str) -> bool:
    return has_packages(level) and has_project()


def has_packages(level: str) -> bool:
    """The tests' environment also serves the sandbox: its lock includes the other."""
    return stamped(PACKAGES_STAMP, key("test"), key(level)) and PYTHON.exists()


def has_project() -> bool:
    return stamped(PROJECT_STAMP, project_key())


def stamped(stamp: Path, *good: str) -> bool:
    try:
        return stamp.read_text() in good
    except FileNotFoundError:
        return False


def key(level: str) -> str:
    """Names one state of the environment: it changes with the lock, the Python, and the place."""
    return digest(LOCKS[level].read_bytes(), level.encode(), sys.version.encode(), str(ROOT).encode())


def project_key() -> str:
    return digest((ROOT / "pyproject.toml").read_bytes())


def digest(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def prepare(level: str) -> None:
    """Not while something runs in it: the Makefile holds the same lock shared."""
    with steps.lock(IN_USE, "waiting until nothing runs in .venv (make sandbox, make test …)"):
        if not has_packages(level):
            make_venv()
            install_locked(level)
        install_project()


def make_venv() -> None:
    if VENV.exists() and not os.access(VENV, os.W_OK):
        raise Trouble(f"cannot change {VENV}: it belongs to another user", f"Run: sudo rm -r {VENV}")
    # --clear: what an older lock brought must not stay importable.
    argv = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    way_out = f"Remove it and try again: rm -r {VENV}"
    steps.run("making the virtual environment .venv", "make the virtual environment", argv, way_out)


def pip_install(doing: str, failing: str, *what: str) -> None:
    argv = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", *what]
    way_out = "See the lines above; a package index must be reachable (pip's own settings apply)."
    steps.run(doing, failing, argv, way_out)


def install_locked(level: str) -> None:
    what = ("--require-hashes", "-r", str(LOCKS[level]))
    pip_install("installing the Python packages (about a minute)", "install the Python packages", *what)
    PACKAGES_STAMP.write_text(key(level))


def install_project() -> None:
    # No isolation and no dependencies: all that this needs came with the lock.
    what = ("--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    pip_install("installing fairlead into .venv", "install fairlead into .venv", *what)
    PROJECT_STAMP.write_text(project_key())


if __name__ == "__main__":
    steps.program(main)
