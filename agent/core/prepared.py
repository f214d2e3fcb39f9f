"""What root leaves in a folder below /run for the next restart of the proxy: scripts for nft, and a plan.

Law: the built-in types alone. The programs that read this run between the end of a proxy and the next one, where
an import of `dataclasses` or `json` costs more than what they do.
"""

from collections.abc import Iterable, Mapping, Sequence

FOLDER = "run/fairlead-prepared"
SLOT = "run/fairlead-slot"  # the record of the slot that the redirect names; absent: main
PLAN = "plan"
ASKED = "asked"  # the privileged helper was asked to stop the proxy: its next end is no crash
ENDED = "ended"  # how the proxy has ended, for the next start: a line for each of the last ends
STOPPED = "success killed TERM"  # so it is recorded where it was asked for
ARMED = "armed"  # the process for which the redirect was last set to ON
ON = "on.json"
WAITING = "waiting.json"  # inbound ON; outbound has its failure policy until the policy controller has answered
FAILED = "failed.json"
STANDBY = "standby.json"  # ON, with the second slot
SCRIPTS = (ON, WAITING, FAILED, STANDBY)
# The name of the process (comm) in which a start waits, until it becomes the proxy.
STARTING = "fairlead-start"
# Of one that is about to become the proxy: systemd's, the interpreter's, the start program's.
_NOT_YET = ("(", "python", STARTING)

_ENDS = 12  # before the newest: the pause does not grow after as many
_FASTEST = 10.0  # seconds
_FORM = "3"  # of a plan; a reader of another version finds none
_ABSENT = "-"
Identity = str  # device, inode, time of the last change of the content in ns, size; or that there is no such file


def identity(device: int, inode: int, mtime_ns: int, size: int) -> Identity:
    return f"{device} {inode} {mtime_ns} {size}"


def absent() -> Identity:
    return _ABSENT


class Plan:
    """`binary`: "": the launch is not prepared. `sources`: each file that decides what is prepared, and its
    identity then. `nft`: the program; "": rules are not prepared. `arrivals`: where redirected connections arrive,
    by address and port. `controller`: HOST:PORT of the policy controller; "": nothing goes out through the proxy.
    `effect`: what the failure policy does, for people. `workload_api`, `spiffe_id`, `hint`: what the proxy's user
    asks before the start, and must get; "": that is not prepared. `standby`: where connections arrive once the
    second slot is named; (): the host has one."""

    def __init__(
        self,
        uid: int,
        binary: str,
        environment: Mapping[str, str],
        sources: Mapping[str, Identity],
        nft: str = "",
        arrivals: Iterable[tuple[str, int]] = (),
        controller: str = "",
        effect: str = "",
        workload_api: str = "",
        spiffe_id: str = "",
        hint: str = "",
        standby: Iterable[tuple[str, int]] = (),
    ) -> None:
        self.uid, self.binary, self.nft, self.controller, self.effect = uid, binary, nft, controller, effect
        self.workload_api, self.spiffe_id, self.hint = workload_api, spiffe_id, hint
        self.environment, self.sources = dict(environment), dict(sources)
        self.arrivals, self.standby = tuple(sorted(arrivals)), tuple(sorted(standby))


def is_starting(name: str) -> bool:
    """The main process of the proxy's unit is not the proxy yet. `name`: its comm."""
    return name.startswith(_NOT_YET)


def written(plan: Plan) -> str:
    """Raises ValueError: a value of it has a NUL."""
    fields = [_FORM, str(plan.uid), plan.binary, plan.nft, plan.controller, plan.effect]
    fields += [plan.workload_api, plan.spiffe_id, plan.hint]
    for pairs in (
        list(plan.environment.items()),
        list(plan.sources.items()),
        *([(address, str(port)) for address, port in places] for places in (plan.arrivals, plan.standby)),
    ):
        fields += [str(len(pairs)), *(word for pair in pairs for word in pair)]
    if any("\0" in field for field in fields):
        raise ValueError("a value has a NUL")
    return "\0".join((*fields, "."))


def read(text: str) -> Plan | None:
    """None: it is not a plan, or not a whole one."""
    fields = text.split("\0")
    if fields[0] != _FORM or fields[-1] != ".":
        return None
    try:
        uid, binary, nft, controller, effect = fields[1:6]
        api, spiffe_id, hint = fields[6:9]
        environment, rest = _pairs(fields[9:-1])
        sources, rest = _pairs(rest)
        arrivals, rest = _pairs(rest)
        standby, rest = _pairs(rest)
        places, others = ([(address, int(port)) for address, port in found] for found in (arrivals, standby))
        said = (controller, effect, api, spiffe_id, hint)
        plan = Plan(int(uid), binary, dict(environment), dict(sources), nft, places, *said, others)
    except (ValueError, IndexError):
        return None
    return plan if not rest else None


def _pairs(fields: Sequence[str]) -> tuple[list[tuple[str, str]], Sequence[str]]:
    """Raises ValueError, IndexError."""
    end = 1 + 2 * int(fields[0])
    if end < 1 or end > len(fields):
        raise ValueError("not a whole plan")
    return [(fields[at], fields[at + 1]) for at in range(1, end, 2)], fields[end:]


# records --------------------------------------------------------------------------------------------


def with_end(before: str, end: str) -> str:
    """The record of the ends, and this one."""
    return "".join(f"{line}\n" for line in (*before.splitlines()[-_ENDS:], end))


def too_often(ends: str) -> bool:
    """The start program does not come to delay the starts: it needs a minute for as many ends that are crashes."""
    times = [line.split()[0] for line in ends.splitlines()]
    return len(times) > _ENDS and float(times[-1]) - float(times[0]) < _FASTEST


def armed(pid: int, start_ticks: int, at: float) -> str:
    """`at`: seconds of CLOCK_MONOTONIC at which it was proved ready."""
    return f"{pid} {start_ticks} {at:.6f}\n"


def read_armed(text: str) -> tuple[int, int, float] | None:
    try:
        pid, start_ticks, at = text.split()
        return int(pid), int(start_ticks), float(at)
    except ValueError:
        return None
