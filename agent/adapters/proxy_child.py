"""linkerd2-proxy as a detached child: for the sandbox, containers and development; it needs root.

Law: the proxy outlives the agent. It has a separate session, log file and environment and no pipe to another
process, so it survives a killed agent; the next agent adopts the process.

A process is identified by pid, start ticks and boot id. An agent may be killed between the fork and the record of
the process. So an intent is written before the fork: the inode of a log file that is created for this start. The
process with that file as standard output is the child, and the next agent finds it this way.
"""

import asyncio
import dataclasses
import errno
import json
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.adapters import files, oom_kills, proxy_reading, spawn
from agent.core import gate_record as gate
from agent.core import procfs, proxy, proxy_end, text_files
from agent.core.facts import UNKNOWN, Maybe, Process
from agent.core.proxy import ProxySettings, Reading
from agent.core.reasons import Fault, Reason
from agent.host import boot_id, reading
from agent.ports import Trouble

GATE_WITHIN = 20.0  # seconds; its own wait is shorter, the rest is a cold interpreter
GATE_ENVIRONMENT = {**spawn.ENVIRONMENT, "PYTHONPATH": str(Path(__file__).parents[2])}
LOG_MOST = 1 << 20  # bytes of a log that are read at one look
LOG_OVERLAP = 1 << 10  # a line that was only begun at the last look is read whole


@dataclass(frozen=True)
class Paths:
    """`trust_anchors`: the first of these that exists. `record`: which process is the proxy, root-owned under
    /run. `log`: its output; the previous run's is kept beside it with the suffix .1. `instead`: takes the place of
    `binary` while it exists."""

    binary: str
    trust_anchors: tuple[Path, ...]
    record: Path
    log: Path
    instead: Path | None = None

    @property
    def wanted(self) -> str:
        return str(self.instead) if self.instead is not None and self.instead.exists() else self.binary


@dataclass
class _Handle:
    process: Process
    pidfd: int
    child: subprocess.Popen[bytes] | None  # None: adopted
    counters: oom_kills.Counters
    oom_kills: tuple[int, int]  # in its control group, at the last look but one and at the last
    log_read: int = 0  # bytes
    worker_lost: bool = False


class ChildProxy:
    """Implements ports.ProxyRuntime. `settings`: called for each start, because the version may have changed.
    `gate`: the command that checks, as the proxy's user, whether the Workload API has a usable SVID (exit 0); its
    output is the reason if not. `preflight`: the command that checks, as that user, whether the next start would
    work (`core.gate_record.told`). `furnish`: makes what a start needs of the host; raises Trouble."""

    def __init__(
        self,
        settings: Callable[[], ProxySettings],
        paths: Paths,
        uid: int,
        gid: int,
        gate: Sequence[str],
        preflight: Sequence[str],
        furnish: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._settings, self._paths, self._gate, self._preflight = settings, paths, gate, preflight
        self._furnish = furnish
        self._uid, self._gid = uid, gid
        self._boot_id = boot_id()
        self._handle: _Handle | None = None

    # adoption -----------------------------------------------------------------------------------

    async def adopt(self) -> Process | None:
        record = _read_record(self._paths.record)
        if record.get("boot_id") != self._boot_id or "log" not in record:
            return None
        if not record.keys() >= PROCESS_FIELDS:
            return self._adopt_orphan(record["log"])
        return self._take(Process(**{name: record[name] for name in PROCESS_FIELDS}), record["log"])

    def _adopt_orphan(self, log: list[int]) -> Process | None:
        """A process of an agent that ended before it recorded the pid. The child sets its standard output right
        after the fork, before another agent can start."""
        process = _writing_to(log, self._boot_id)
        taken = None if process is None else self._take(process, log)
        if taken is not None:
            self._remember(log, taken)
        return taken

    def _take(self, process: Process, log: list[int]) -> Process | None:
        """Open a pidfd first and check the process then: a pidfd always refers to the same process."""
        try:
            pidfd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            return None
        if not _is_alive(process, log):
            os.close(pidfd)
            return None
        return self._hold(process, pidfd, None)

    def _hold(self, process: Process, pidfd: int, child: "subprocess.Popen[bytes] | None") -> Process:
        self.close()
        counters = oom_kills.counters_of(process.pid)
        self._handle = _Handle(process, pidfd, child, counters, (oom_kills.kills(counters),) * 2)
        return process

    def close(self) -> None:
        """Release the process, which keeps running."""
        if self._handle is not None:
            os.close(self._handle.pidfd)
            self._handle = None

    async def prove(self, version: str) -> None:
        command = [*self._preflight, version] if version else self._preflight
        try:
            done = await spawn.run(
                command, within=GATE_WITHIN, environment=GATE_ENVIRONMENT, owner=(self._uid, self._gid)
            )
        except spawn.SpawnError as error:
            raise Trouble(Reason.PROXY_UNIT_FAILED, str(error)) from error
        if (fault := gate.told(done.output.decode(errors="replace"), done.explain())) is not None:
            raise Trouble(fault.reason, fault.detail)

    # start --------------------------------------------------------------------------------------

    async def start(self) -> Process:
        if os.geteuid() != 0:
            raise Trouble(Reason.PROXY_NOT_PERMITTED, f"this process has uid {os.geteuid()}")
        if self._furnish is not None:
            await self._furnish()
        environment = self._environment()
        _check_executable(self._paths.wanted)
        self._check_ports()
        await self._pass_gate()
        try:
            return self._spawn(environment)
        except OSError as error:
            raise _start_trouble(error, self._paths.wanted) from error

    def _environment(self) -> dict[str, str]:
        try:
            return proxy.environment(self._settings(), read_anchors(self._paths.trust_anchors))
        except proxy.Refused as refused:
            raise Trouble(refused.fault.reason, refused.fault.detail) from refused

    def _check_ports(self) -> None:
        """Bind as the proxy will, so that a used port is reported before the start."""
        settings = self._settings()
        listeners = [proxy.inbound_listener(settings), *proxy.outbound_listeners(settings)]
        for address, port in [*listeners, proxy.admin_listener(settings)]:
            with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((address, port))
                except OSError as error:
                    taken = error.errno == errno.EADDRINUSE
                    reason = Reason.PROXY_PORT_TAKEN if taken else Reason.PROXY_FAILED_TO_START
                    raise Trouble(reason, f"port {port} at {address}: {error.strerror}") from error

    async def _pass_gate(self) -> None:
        """An SVID of this process does not prove one of the proxy: the Workload API identifies the user."""
        try:
            done = await spawn.run(
                self._gate, within=GATE_WITHIN, environment=GATE_ENVIRONMENT, owner=(self._uid, self._gid)
            )
        except spawn.SpawnError as error:
            raise Trouble(Reason.PROXY_IDENTITY_MISSING, str(error)) from error
        if done.code != 0:
            fault = gate.printed(done.output.decode(errors="replace"))
            fault = gate.awaited(fault or Fault(Reason.PROXY_IDENTITY_MISSING, done.explain()))
            raise Trouble(fault.reason, fault.detail)

    def _spawn(self, environment: dict[str, str]) -> Process:
        log = _fresh_log(self._paths.log)
        try:
            inode = _inode(os.fstat(log))
            self._remember(inode, None)
            child = subprocess.Popen(
                [os.path.realpath(self._paths.wanted)],  # which version runs shall be plain to see
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd="/",
                user=self._uid,
                group=self._gid,
                extra_groups=[],
                umask=0o027,
                start_new_session=True,
            )
        finally:
            os.close(log)
        try:
            process = _describe(child.pid, self._boot_id)  # not reaped yet, so /proc has it
            self._remember(inode, process)
        except BaseException:  # a process that no agent could find must not run
            child.kill()
            child.wait()
            raise
        return self._hold(process, os.pidfd_open(child.pid), child)

    def _remember(self, inode: list[int], process: Process | None) -> None:
        record = {"boot_id": self._boot_id, "log": inode, **(vars(process) if process else {})}
        files.write_atomically(self._paths.record, json.dumps(record) + "\n")

    async def appear(self) -> Process:
        """No other program starts one."""
        await asyncio.Event().wait()
        raise AssertionError

    async def abandon(self) -> None:
        """A start that was cancelled has started nothing."""

    # its end ------------------------------------------------------------------------------------

    async def wait(self, process: Process) -> Fault:
        handle = self._held(process)
        await _readable(handle.pidfd)
        # The counter does not name the killed process: it was the proxy if SIGKILL ended it. Its end takes
        # a moment more than the count, and a look may lie between them.
        out_of_memory = oom_kills.kills(handle.counters) > handle.oom_kills[0]
        if handle.child is None and not out_of_memory:
            return Fault(Reason.PROXY_CRASHED, "exit status unknown: adopted")
        code = -signal.SIGKILL if handle.child is None else handle.child.wait()
        return proxy_end.exit_fault(code, out_of_memory and code == -signal.SIGKILL)

    async def terminate(self, process: Process) -> None:
        self._signal(process, signal.SIGTERM)

    async def kill(self, process: Process) -> None:
        self._signal(process, signal.SIGKILL)

    def _signal(self, process: Process, number: signal.Signals) -> None:
        try:
            signal.pidfd_send_signal(self._held(process).pidfd, number)
        except ProcessLookupError:
            return  # it has ended, as `wait` reports

    def _held(self, process: Process) -> _Handle:
        assert self._handle is not None and self._handle.process == process, process
        return self._handle

    async def carried(self, process: Process) -> Maybe[int]:
        return await asyncio.to_thread(proxy_reading.carried, self._settings(), process)

    async def inspect(self, process: Process) -> Reading:
        handle, settings = self._held(process), self._settings()
        handle.oom_kills = handle.oom_kills[1], oom_kills.kills(handle.counters)
        reading = await proxy_reading.read(settings)
        return dataclasses.replace(reading, worker_lost=self._worker_lost(handle, settings.version))

    def _worker_lost(self, handle: _Handle, version: str) -> Maybe[bool]:
        """By what its log says since the last look; one that has lost a worker has lost it for good."""
        if not proxy_end.may_lose_workers(version):
            return UNKNOWN
        with suppress(OSError), reading.opened(self._paths.log) as log:
            log.seek(max(handle.log_read - LOG_OVERLAP, log.seek(0, os.SEEK_END) - LOG_MOST, 0))
            lost = proxy_end.lost_a_worker(log.read().decode(errors="replace"))
            handle.log_read, handle.worker_lost = log.tell(), handle.worker_lost or lost
            return handle.worker_lost
        return UNKNOWN


# /proc and the record of it ------------------------------------------------------------------------

PROCESS_FIELDS = {"pid", "start_ticks", "boot_id", "executable"}


def _read_record(path: Path) -> dict[str, Any]:
    """{} where there is none that this version can read: then a proxy that runs is met as a port that is taken."""
    try:
        record = json.loads(reading.read(path, reading.RECORD))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _describe(pid: int, boot_id: str) -> Process:
    """Raises OSError where there is no such process."""
    stat = procfs.stat(Path(f"/proc/{pid}/stat").read_text())
    return Process(pid, stat.start_ticks, boot_id, _executable(pid))


def _executable(pid: int) -> str:
    """Empty where it cannot be read. A binary that was replaced under its process is still that binary."""
    try:
        return str(Path(f"/proc/{pid}/exe").readlink()).removesuffix(" (deleted)")
    except OSError:
        return ""


def _is_alive(process: Process, log: list[int]) -> bool:
    """Whether the pid still belongs to that very process, and it is not dead and only not reaped. A program
    that has become another (a wrapper that ended in exec) still writes to the log of its start."""
    try:
        stat = procfs.stat(Path(f"/proc/{process.pid}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return False
    if stat.state in "ZX" or stat.start_ticks != process.start_ticks:
        return False
    executable = _executable(process.pid)
    unread = not (executable and process.executable)
    return unread or executable == process.executable or _output(process.pid) == log


def _writing_to(log: list[int], boot_id: str) -> Process | None:
    """The process whose standard output is that file."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    writer = next((pid for pid in pids if _output(pid) == log), None)
    return None if writer is None else _describe(writer, boot_id)


def _output(pid: int) -> list[int] | None:
    """The inode of a process's standard output; None: it has none, or has ended."""
    try:
        return _inode(Path(f"/proc/{pid}/fd/1").stat())
    except OSError:
        return None


def _inode(stat: os.stat_result) -> list[int]:
    return [stat.st_dev, stat.st_ino]


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    news = asyncio.Event()
    loop.add_reader(fd, news.set)
    try:
        await news.wait()
    finally:
        loop.remove_reader(fd)


# what a start needs --------------------------------------------------------------------------------


def read_anchors(paths: Sequence[Path]) -> str:
    """The PEM as it stands, once it was seen to hold a certificate. Raises Trouble."""
    path = reading.present(paths)
    try:
        pem = text_files.armour(reading.read(path, reading.DOCUMENT, links=True))
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise Trouble(Reason.TRUST_ANCHORS_UNUSABLE, f"{path}: {error}") from error
    return pem


def _check_executable(binary: str) -> None:
    """Name what is plainly wrong before the gate is asked. Raises Trouble."""
    try:
        stat = Path(binary).stat()
    except OSError as error:
        raise Trouble(Reason.PROXY_BINARY_UNUSABLE, f"{binary}: {error.strerror}") from error
    if not (Path(binary).is_file() and stat.st_mode & 0o111):
        raise Trouble(Reason.PROXY_BINARY_UNUSABLE, f"{binary}: not an executable file")


def _start_trouble(error: OSError, binary: str) -> Trouble:
    if error.errno == errno.EPERM:
        return Trouble(Reason.PROXY_NOT_PERMITTED, f"cannot become the proxy's user: {error.strerror}")
    if error.filename == binary:  # also an interpreter that is missing, and a directory closed to that user
        return Trouble(Reason.PROXY_BINARY_UNUSABLE, f"{binary}: {error.strerror}")
    return Trouble(Reason.PROXY_FAILED_TO_START, str(error))


def _fresh_log(path: Path) -> int:
    """A new file each time: its inode identifies the start. Not a pipe: a pipe ends with its reader."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.replace(path.with_name(f"{path.name}.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
