"""A machine: systemd, really booted, from a Debian in the cache that is never changed.

A mount namespace, which a keeper process holds, has the Debian with a writable layer in memory over it.
systemd-nspawn boots in it, in a control group of its own, and in a network namespace with nothing but loopback and
what the test wires to it. Files last until the machine goes, also over a reboot, but for /run and /tmp.
In a test, take the fixtures `machine` and `fresh_machine` of tests/conftest.py.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab import netns
from tests.lab.realparts import RealPartMissing, where

BOOT_WITHIN = 120.0  # seconds; it takes one or two on a quiet machine
WITHIN = 60.0
_REBOOT = 133  # exit code of systemd-nspawn --keep-unit

# In a private mount namespace. A /run of our own: systemd-nspawn keeps files there. cgroup2 alone, also where v1
# is offered: it is what hosts have today, and a Debian 13 boots in nothing else. The keeper lives as long as its
# standard input, so that the machine ends with the test run, however that ends (a machine does not mind the death
# of its systemd-nspawn).
_KEEPER = """
set -eu
mount -t tmpfs -o mode=0755 tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir "/sys/fs/cgroup/$2"
mount -t tmpfs -o mode=0755 tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=$3,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
echo held
read -r _ || :
echo 1 > "/sys/fs/cgroup/$2/cgroup.kill"
until grep -q 'populated 0' "/sys/fs/cgroup/$2/cgroup.events"; do sleep 0.02; done
find "/sys/fs/cgroup/$2" -depth -type d -delete
"""
_ENTER_GROUP = 'echo $$ > "/sys/fs/cgroup/$0/cgroup.procs"; exec "$@"'
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True)
class Wire:
    """From the machine to another namespace, from before systemd starts. `its`, `others`: addresses with prefix
    lengths. `held`: the machine itself brings the link up, as a network service does after network-pre.target."""

    its: tuple[str, ...]
    other: netns.Namespace
    others: tuple[str, ...]
    held: bool = False


@dataclass
class Machine:
    """`suite`: of Debian. `binds`: (path here, path there), read-only. `wires`: made at each boot."""

    suite: str = "bookworm"
    binds: Sequence[tuple[Path, str]] = ()
    wires: Sequence[Wire] = ()
    name: str = field(default_factory=lambda: f"fl-{secrets.token_hex(4)}")

    def __enter__(self) -> Self:
        lower = where(f"debian-{self.suite}")
        self._folder = Path(tempfile.mkdtemp(prefix="fairlead-machine-"))
        self._stack = contextlib.ExitStack()
        self._stack.callback(shutil.rmtree, self._folder)
        self._log = self._stack.enter_context((self._folder / "console.log").open("a+b"))
        work = self._folder / "work"
        work.mkdir()
        command = ["unshare", "--mount", "--propagation", "private"]
        command += ["sh", "-c", _KEEPER, "keeper", str(work), self.name, str(lower)]
        self._keeper = subprocess.Popen(
            # A signal to the test run's whole group (Ctrl-C, a time limit) must not meet the one that clears up.
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
            env={**os.environ},
        )
        self._stack.callback(self._let_go)
        assert self._keeper.stdout is not None
        if self._keeper.stdout.readline() != b"held\n":
            raise RealPartMissing(f"cannot lay out a machine: {self._said()}")
        # Without one this would be a first boot, at which systemd enables whatever is installed.
        self.write("/etc/machine-id", f"{secrets.token_hex(16)}\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _let_go(self) -> None:
        self._keeper.communicate()
        self._keeper.wait(WITHIN)

    # --- power ---

    @contextlib.contextmanager
    def powered(self) -> Iterator[Self]:
        """Booted for the body. At its end it stops at once, as at a power cut."""
        self.boot()
        try:
            yield self
        finally:
            self.cut_power()

    def boot(self) -> None:
        """Returns when every job of the boot is done."""
        self._network = contextlib.ExitStack()
        self.space = self._network.enter_context(netns.namespace())
        for wire in self.wires:
            name = netns.join(self.space, wire.its, wire.other, wire.others)
            if wire.held:
                self.space.run("sysctl", "-qw", f"net.ipv6.conf.{name}.keep_addr_on_down=1")
                self.space.ip(f"link set {name} down")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices, Path(self.space.path).open() as network:
            notices.bind(str(self._folder / "notify"))
            self._nspawn = self._start(f"/proc/{os.getpid()}/fd/{network.fileno()}")
            try:
                self._wait_for_boot(notices)
            finally:
                (self._folder / "notify").unlink()

    def reboot(self) -> None:
        self.run("systemctl", "reboot")
        code = self._nspawn.wait(BOOT_WITHIN)
        assert code == _REBOOT, f"the machine ended with {code}:\n{self._said()}"
        self._network.close()
        self.boot()

    def cut_power(self) -> None:
        """Everything in it dies in one moment; the kernel sees to that when its first process is gone."""
        if self._nspawn.poll() is None:
            os.kill(self.leader or self._nspawn.pid, signal.SIGKILL)
            self._nspawn.wait(WITHIN)
        self._network.close()

    def _start(self, network: str) -> subprocess.Popen[bytes]:
        binds = [f"--bind-ro={source}:{target}" for source, target in self.binds]
        command = [
            *("nsenter", f"--mount=/proc/{self._keeper.pid}/ns/mnt", "setpriv", "--pdeathsig", "KILL", "--"),
            *("sh", "-euc", _ENTER_GROUP, self.name, "systemd-nspawn", "--quiet", "--boot", "--settings=no"),
            *("--register=no", "--keep-unit", "--console=pipe", "--link-journal=no", "--notify-ready=yes"),
            *("--resolv-conf=off", "--timezone=off", f"--machine={self.name}", "--hostname=machine"),
            *(f"--directory={self._layer}", f"--network-namespace-path={network}"),
            *("--capability=CAP_NET_ADMIN", *binds),
        ]
        environment = {**_ENVIRONMENT, "NOTIFY_SOCKET": str(self._folder / "notify")}
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=environment,
            start_new_session=True,
        )

    def _wait_for_boot(self, notices: socket.socket) -> None:
        """systemd-nspawn reports the pid of the first process, and then that it is ready."""
        self.leader, deadline = 0, time.monotonic() + BOOT_WITHIN
        while True:
            notices.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                said = dict(line.partition("=")[::2] for line in notices.recv(4096).decode().splitlines())
                self.leader = int(said.get("X_NSPAWN_LEADER_PID", self.leader))
                if said.get("READY") == "1":
                    return
            if self._nspawn.poll() is not None or time.monotonic() > deadline:
                self.cut_power()
                raise RealPartMissing(f"cannot boot a machine:\n{self._said()}")

    # --- inside ---

    @property
    def _layer(self) -> Path:
        return self._folder / "work/root"

    def path(self, inside: str) -> Path:
        """Where a file of the machine's lies for us; before a boot there is no /run, /tmp, /proc."""
        booted = hasattr(self, "leader") and self._nspawn.poll() is None
        root = Path(f"/proc/{self.leader}/root") if booted else Path(f"/proc/{self._keeper.pid}/root{self._layer}")
        return root / inside.lstrip("/")

    def write(self, path: str, text: str, mode: int = 0o644, owner: str = "root") -> None:
        """A whole file, its directory made where it is missing."""
        place = self.path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)
        if owner != "root":
            self.run("chown", f"{owner}:", path)

    def read(self, path: str) -> str:
        return self.path(path).read_text()

    def command(self, *argv: str, user: str = "root") -> list[str]:
        """The command line that runs a program in it: its namespaces are the machine's, its control group is not
        (for that: systemd-run)."""
        into = ["nsenter", f"--target={self.leader}", "-m", "-u", "-i", "-n", "-p", "--root", "--wd"]
        if user != "root":
            into += ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--"]
        return [*into, *argv]

    def unbooted(self, *argv: str) -> list[str]:
        """The command line that runs a program in its files alone, as a build of an image does."""
        return ["nsenter", f"--mount=/proc/{self._keeper.pid}/ns/mnt", "chroot", str(self._layer), *argv]

    def try_run(
        self, *argv: str, user: str = "root", input: str = "", within: float = WITHIN
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, with any exit code; 124 at its timeout."""
        command = self.command("timeout", "--kill-after=5", f"{within:g}", *argv, user=user)
        return subprocess.run(
            command,
            input=input,
            capture_output=True,
            text=True,
            check=False,
            env=_ENVIRONMENT,
            timeout=within + 30,
        )

    def run(self, *argv: str, user: str = "root", input: str = "", within: float = WITHIN) -> str:
        """The standard output of a program that ends well."""
        done = self.try_run(*argv, user=user, input=input, within=within)
        assert done.returncode == 0, f"{' '.join(argv)}: {done.returncode}: {done.stderr}{done.stdout}"
        return done.stdout

    # --- units ---

    def systemctl(self, *words: str) -> str:
        return self.run("systemctl", *words)

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit, by their names."""
        said = self.systemctl("show", unit, *(f"--property={name}" for name in properties))
        return dict(line.split("=", 1) for line in said.splitlines())

    def wait_for(self, unit: str, state: str = "active", within: float = WITHIN) -> None:
        """Until a unit is in that ActiveState."""
        self.wait_until(
            lambda: self.show(unit, "ActiveState") == {"ActiveState": state}, f"{unit}: {state}", within
        )

    def wait_until(self, true: Callable[[], bool], what: str, within: float = WITHIN) -> None:
        end = time.monotonic() + within
        while not true():
            assert time.monotonic() < end, f"not so after {within:g} s: {what}\n{self.journal(lines=60)}"
            time.sleep(0.05)

    def journal(self, unit: str = "", lines: int = 1000) -> str:
        """The end of the journal of this boot."""
        only = [f"--unit={unit}"] if unit else []
        return self.run("journalctl", "--no-pager", "--boot", f"--lines={lines}", "-o", "short-monotonic", *only)

    def kill(self, pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        """A signal to a process, by its number in the machine."""
        self.run("kill", f"-{number.value}", str(pid))

    def _said(self) -> str:
        self._log.seek(0)
        return "\n".join(self._log.read().decode(errors="replace").splitlines()[-20:])
