"""The self-test by packets: real connections from outside, before and after the rules are set.

Law: evidence alone counts. A problem is a connection that arrives where it must not, or is reset where it was
accepted before. A missing answer decides nothing: the host's firewall may drop what comes from this interface. The
intended result is stated here independently of the code that makes the rules.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from agent.core.facts import Level
from agent.core.late import dataclass
from agent.core.redirect import SSH_PORT, Address, Inbound, RedirectSpec
from agent.privileged.redirect import tun
from agent.privileged.redirect.tun import Answer, Place, Wire
from agent.privileged.system import listeners, processes

_SOME = 8  # of each kind, for each address: examples, not a scan


@dataclass(frozen=True)
class Findings:
    """`said`: how the rules were tested, for people. `stranger`: the user that got a redirected connection, and is
    not the proxy's."""

    said: str
    harms: tuple[str, ...] = ()
    misses: tuple[str, ...] = ()
    stranger: int | None = None


class Packets:
    """Made before the rules are set: it records what must stay as it is."""

    def __init__(self, spec: RedirectSpec, ssh: frozenset[int], line: Wire) -> None:
        self._spec, self._ssh, self._line = spec, ssh, line
        findings = line.dial(place for address in spec.addresses for place in _untouched(spec, ssh, address))
        self._kept = [place for place, answer in findings.items() if answer.port == place[1]]

    def findings(self, inbound: Level) -> Findings:
        """With the rules set."""
        try:
            return self._findings(inbound)
        except tun.Impossible as impossible:
            return _tracer_alone(impossible)

    def _findings(self, inbound: Level) -> Findings:
        kept, declared = self._kept, list(_declared(self._spec, inbound))
        answers = self._line.dial([*kept, *declared])
        harms = self._harms({place: answers[place] for place in kept if place in answers})
        reached = {place: answers[place] for place in declared if place in answers}
        misses = _misses(self._spec, reached, inbound)
        asked, silent = len(kept) + len(declared), len(kept) + len(declared) - len(answers)
        said = f"by the tracer, and by {asked} connections from outside"
        said = f"{said}, {silent} of them without an answer" if silent else said
        return Findings(said, tuple(harms), tuple(misses), self._stranger(reached.values()))

    def _stranger(self, answers: Iterable[Answer]) -> int | None:
        reached = (answer.uid for answer in answers if answer.port == self._spec.inbound_listener)
        return next((uid for uid in reached if uid not in (None, self._spec.proxy_uid)), None)

    def _harms(self, answers: Mapping[Place, Answer]) -> Iterator[str]:
        for (address, port), answer in answers.items():
            what = f"{'SSH on ' if port in self._ssh else ''}{address} port {port}"
            if answer.port not in (port, None):
                yield f"a connection to {what} arrives at port {answer.port}"
            elif not answer.accepted and port in listeners.accepting(address, processes.ROOT):
                yield f"a connection to {what} is reset, and was accepted before"


@contextmanager
def opened(spec: RedirectSpec, sshd: frozenset[int]) -> Iterator[Packets | Findings]:
    """Findings at once where there can be no wire."""
    try:
        with tun.wire(spec.inbound_except.networks) as line:
            yield Packets(spec, sshd | {SSH_PORT}, line)
    except tun.Impossible as impossible:
        yield _tracer_alone(impossible)


def _tracer_alone(impossible: tun.Impossible) -> Findings:
    return Findings(f"by the tracer alone: {impossible}")


def _untouched(spec: RedirectSpec, ssh: frozenset[int], address: Address) -> list[Place]:
    """Ports with a listener of root that are not redirected; SSH before others. Another user could close and open
    its listener while this looks, and so prove harm at will."""
    ports = listeners.accepting(address, processes.ROOT) - spec.own_ports
    if spec.inbound is Inbound.ALL:
        ports &= ssh | spec.inbound_except.ports
    elif spec.inbound is Inbound.DECLARED:
        ports -= spec.ports - spec.inbound_except.ports
    return [(address, port) for port in sorted(ports, key=lambda port: (port not in ssh, port))[:_SOME]]


def _declared(spec: RedirectSpec, inbound: Level) -> Iterator[Place]:
    if spec.inbound is Inbound.OFF or inbound is Level.RELEASED:
        return
    ports = spec.ports - spec.inbound_except.ports - spec.ssh_ports - spec.own_ports
    for address in spec.addresses:
        yield from ((address, port) for port in sorted(ports)[:_SOME])


def _misses(spec: RedirectSpec, answers: Mapping[Place, Answer], inbound: Level) -> Iterator[str]:
    for (address, port), answer in answers.items():
        where = f"a connection to {address} port {port} arrives at port {answer.port}"
        if answer.port is not None and inbound is Level.BLOCK:
            yield f"{where}, but must be blocked"
        elif answer.port not in (None, spec.inbound_listener):
            yield f"{where}, not at the proxy's {spec.inbound_listener}"
