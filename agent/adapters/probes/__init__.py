"""Tries the local application as kubelet does.

Law: a try ends in time and never raises for what the application does. What fails on our own side (no file
descriptor or memory left, no systemd to ask) is no verdict: Attempt(None).
"""

import dataclasses
import errno

from agent.adapters.helper import Helper
from agent.adapters.probes import command, network
from agent.core.probe import Attempt, ProbeSpec, brief


class HostProber:
    """Implements ports.Prober. `systemctl`: the program that is asked about units. `helper`: what starts those of
    exec probes."""

    def __init__(self, systemctl: str = "systemctl", helper: Helper | None = None) -> None:
        self._systemctl, self._helper = systemctl, helper or Helper("/")

    async def attempt(self, spec: ProbeSpec) -> Attempt:
        try:
            attempt = await self._attempt(spec)
        except OSError as error:  # the module of a kind is opened at its first try
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            attempt = Attempt(None, f"cannot try: {error.strerror}")
        return dataclasses.replace(attempt, detail=brief(attempt.detail))

    async def _attempt(self, spec: ProbeSpec) -> Attempt:
        match spec.kind:
            case "http":
                from agent.adapters.probes import web  # a host without such probes pays nothing for it

                return await network.bounded(spec, web.http)
            case "tcp":
                return await network.bounded(spec, network.tcp)
            case "grpc":
                from agent.adapters.probes import health  # gRPC takes its time to load

                return await network.bounded(spec, health.check)
            case "exec" if spec.unit:
                from agent.adapters.probes import jobs  # the bus is of no use to the others

                return await jobs.run(spec, self._helper)
            case "exec":
                return await command.run(spec)
            case "systemd":
                return await command.unit(spec, self._systemctl)
            case "push":
                raise ValueError(f"{spec.name}: a push is waited for, not tried")
