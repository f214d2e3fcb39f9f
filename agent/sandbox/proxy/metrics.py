"""The stand-in's metrics: the series of linkerd2-proxy that fairlead and its tests read, with their labels."""

import contextlib
import resource
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.sandbox.proxy.identity import Identity
from agent.sandbox.proxy.settings import Address


@dataclass
class ControlCounts:
    """Of the policy client. `failures`: no answer came; `broken`: streams that ended; `found`, `missed`: of its
    name."""

    requests: int = 0
    answers: int = 0
    failures: int = 0
    broken: int = 0
    found: int = 0
    missed: int = 0


class Metrics:
    """`policy`: HOST:PORT of the policy controller; `policy_name`: its name."""

    def __init__(self, identity: Identity, policy: str, policy_name: str) -> None:
        self._identity, self.control = identity, ControlCounts()
        host, _, port = policy.rpartition(":")
        tls = (
            f'tls="true",server_id="{policy_name}"'
            if policy_name
            else 'tls="no_identity",no_tls_reason="loopback"'
        )
        self._controller = f'addr="{host.removesuffix(".")}:{port}",{tls}'
        self._began, self._began_here = time.time(), time.monotonic()
        self._open: Counter[str] = Counter()
        self._opened: Counter[str] = Counter()

    @contextlib.contextmanager
    def connection(self, direction: str, peer: str, target: Address | None, tls: str) -> Iterator[None]:
        """Counts one connection while it is open. `tls`: its labels as in the series."""
        labels = f'direction="{direction}",peer="{peer}",{_target(target)}{tls}'
        self._open[labels] += 1
        self._opened[labels] += 1
        try:
            yield
        finally:
            self._open[labels] -= 1

    def text(self) -> str:
        lines = [
            *_series("tcp_open_total", "counter", self._opened),
            *_series("tcp_open_connections", "gauge", self._open),
            *self._certificate(),
            *self._control(),
            *self._process(),
            "# EOF",
        ]
        return "\n".join(lines) + "\n"

    def _control(self) -> list[str]:
        """A series is there once it has counted something; those of names are from the start."""
        count, of, failure = self.control, self._controller, 'classification="failure",grpc_status=""'
        looked = {"ok": count.found, "not_found": count.missed}
        return [
            *_some("control_request_total", of, count.requests),
            *_some("control_response_latency_ms_count", f'{of},status_code="200"', count.answers),
            *_some(
                "control_response_total", f'{of},status_code="200",{failure},error="unclassified"', count.broken
            ),
            *_some("control_response_total", f'{of},{failure},error="unclassified"', count.failures),
            *(
                f'control_dns_resolutions_total{{client="policy",record_type="A/AAAA",result="{result}"}} {n}'
                for result, n in looked.items()
            ),
        ]

    def _certificate(self) -> list[str]:
        """The dates are 0.0 until there is a certificate."""
        identity, prefix = self._identity, "control_identity_cert"
        return [
            *_one(f"{prefix}_expiration_timestamp_seconds", "gauge", identity.expires),
            *_one(f"{prefix}_refresh_timestamp_seconds", "gauge", identity.refreshed),
            f"# TYPE {prefix}_refreshes counter",
            *(f'{prefix}_refreshes_total{{result="{name}"}} {n}' for name, n in identity.refreshes.items()),
        ]

    def _process(self) -> list[str]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return [
            *_one("process_start_time_seconds", "gauge", self._began),
            *_one("process_uptime_seconds_total", "counter", time.monotonic() - self._began_here),
            *_one("process_cpu_seconds_total", "counter", used.ru_utime + used.ru_stime),
            *_one("process_resident_memory_bytes", "gauge", used.ru_maxrss * 1024),
            *_one("process_open_fds", "gauge", len(list(Path("/proc/self/fd").iterdir()))),
        ]


def _target(target: Address | None) -> str:
    if target is None:
        return ""
    host, port = target
    whole = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f'target_addr="{whole}",target_ip="{host}",target_port="{port}",'


def _series(name: str, kind: str, values: Counter[str]) -> list[str]:
    return [f"# TYPE {name} {kind}", *(f"{name}{{{labels}}} {count}" for labels, count in values.items())]


def _some(name: str, labels: str, count: int) -> list[str]:
    return [f"{name}{{{labels}}} {count}"] if count else []


def _one(name: str, kind: str, value: float) -> list[str]:
    return [f"# TYPE {name} {kind}", f"{name} {value}"]
