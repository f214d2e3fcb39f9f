"""Every part of the archive. Their bounds together are less than what an archive may be."""

from pathlib import Path
from typing import Final

from agent.core.slots import Slot
from agent.host import Host
from agent.offline.support import readers
from agent.offline.support.part import Part

_KIB: Final = 1 << 10
_JOURNAL: Final = 1000 * _KIB
_UNITS: Final = (
    "ActiveState,SubState,Result,ExecMainStatus,ExecMainStartTimestamp,NRestarts,MemoryCurrent,TasksCurrent"
)


def parts(prefix: str) -> tuple[Part, ...]:
    """`prefix`: as on the command line."""
    host = Host.below(prefix)
    return (
        *_verbs(["--prefix", prefix] if prefix else []),
        *_fairlead(host),
        *_journal(),
        *_proxy(),
        *_network(),
        *_system(),
    )


def _verbs(where: list[str]) -> tuple[Part, ...]:
    return tuple(
        Part(
            f"{name}.txt", f"fairlead {' '.join(words)}", 150 * _KIB, readers.fairlead(*words, *where, within=25.0)
        )
        for name, words in {
            "status": ("status",),
            "status-json": ("status", "--json"),
            "doctor": ("doctor",),
            "doctor-json": ("doctor", "--json"),
            "check-config": ("check-config",),
            "plan": ("plan",),
            "redirect": ("redirect", "show"),
            "proxy-next-environment": ("proxy", "env", "--json"),
            "proxy-versions": ("proxy", "list"),
        }.items()
    )


def _fairlead(host: Host) -> tuple[Part, ...]:
    records = (host.phase, host.ready_once, host.suspended, host.gate, host.replacement, host.redirected_ports)
    folders = (
        host.configuration.parent,
        host.state,
        host.agent_run,
        host.push_socket.parent,
        host.helper_socket.parent,
        host.proxy_run,
        host.token.parent,
    )
    approved = host.approved.configuration
    return (
        Part("fairlead.toml", str(host.configuration), 100 * _KIB, readers.file(host.configuration), ours=True),
        Part("approved.toml", str(approved), 100 * _KIB, readers.file(approved), ours=True),
        Part("records.txt", "short records of fairlead", 100 * _KIB, readers.files(*records)),
        Part("files.txt", "names and modes of fairlead's files", 200 * _KIB, readers.names(*folders)),
    )


def _journal() -> tuple[Part, ...]:
    """Newest first, because the beginning is kept."""
    units = {
        "agent": ("fairlead.service",),
        "proxy": ("fairlead-proxy.service",),
        "others": (
            "fairlead-proxy-standby.service",
            "fairlead-takeover.service",
            "fairlead-helper@*",
            "fairlead-redirect.service",
            "fairlead-drain.service",
            "fairlead-wait.service",
        ),
    }
    return tuple(
        Part(
            f"journal-{name}.txt",
            f"the journal of {', '.join(of)}, newest first",
            _JOURNAL,
            readers.program(
                *(
                    "journalctl",
                    "--no-pager",
                    "--quiet",
                    "--reverse",
                    "--output=short-iso-precise",
                    "--lines=5000",
                ),
                *(f"--unit={unit}" for unit in of),
            ),
        )
        for name, of in units.items()
    )


def _proxy() -> tuple[Part, ...]:
    return (
        Part("proxy-ready.txt", "the proxy's /ready", _KIB, readers.page("/ready", _KIB)),
        Part("proxy-metrics.txt", "the proxy's /metrics", 2000 * _KIB, readers.page("/metrics", 2000 * _KIB)),
        Part("proxy-environment.json", "the proxy's /env.json, masked", 100 * _KIB, readers.running_environment()),
        Part("standby-ready.txt", "the standby's /ready", _KIB, readers.page("/ready", _KIB, Slot.STANDBY)),
        Part(
            "standby-metrics.txt",
            "the standby's /metrics",
            200 * _KIB,
            readers.page("/metrics", 200 * _KIB, Slot.STANDBY),
        ),
        Part(
            "standby-environment.json",
            "the standby's /env.json, masked",
            50 * _KIB,
            readers.running_environment(Slot.STANDBY),
        ),
    )


def _network() -> tuple[Part, ...]:
    commands = {
        "rules-nft": ("nft", "list", "ruleset"),
        "rules-iptables": ("iptables-save",),
        "rules-ip6tables": ("ip6tables-save",),
        "addresses": ("ip", "address", "show"),
        "routes": ("ip", "route", "show", "table", "all"),
        "routes-6": ("ip", "-6", "route", "show", "table", "all"),
        "routing-rules": ("ip", "rule", "show"),
        "sockets-listening": ("ss", "--tcp", "--listening", "--numeric", "--processes", "--extended"),
        "sockets-connected": ("ss", "--tcp", "--numeric", "--processes"),
        "resolver": ("cat", "/etc/resolv.conf"),
    }
    return tuple(
        Part(f"{name}.txt", " ".join(command), 200 * _KIB, readers.program(*command))
        for name, command in commands.items()
    )


def _system() -> tuple[Part, ...]:
    commands = {
        "units": ("systemctl", "list-units", "--all", "--no-pager", "--plain", "fairlead*", "spire*"),
        "units-state": (
            "systemctl",
            "show",
            f"--property=Id,{_UNITS}",
            "fairlead.service",
            "fairlead-proxy.service",
            "fairlead-proxy-standby.service",
        ),
        "package-deb": ("dpkg-query", "--show", "fairlead"),
        "package-deb-changed-files": ("dpkg", "--verify", "fairlead"),
        "package-rpm": ("rpm", "--query", "fairlead"),
        "package-rpm-changed-files": ("rpm", "--verify", "fairlead"),
        "kernel": ("uname", "-a"),
        "clock": ("timedatectl", "status"),
        "disks": ("df", "-h", "/", "/var/lib", "/run"),
    }
    records = {
        "os-release": Path("/etc/os-release"),
        "memory": Path("/proc/meminfo"),
        "load": Path("/proc/loadavg"),
        "connection-tracking": Path("/proc/sys/net/netfilter/nf_conntrack_count"),
        "connection-tracking-limit": Path("/proc/sys/net/netfilter/nf_conntrack_max"),
    }
    version = Part("version.txt", "fairlead --version", _KIB, readers.fairlead("--version"))
    return (
        version,
        *(Part(f"{n}.txt", " ".join(c), 50 * _KIB, readers.program(*c)) for n, c in commands.items()),
        *(Part(f"{n}.txt", str(path), 10 * _KIB, readers.file(path)) for n, path in records.items()),
    )
