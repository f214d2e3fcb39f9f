"""iptables, by iptables-save and iptables-restore: one transaction for each table and IP version.

Which of the two kernel interfaces a plain `iptables` speaks to is the host's choice; a host that has both must
not have our rules in both.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

from agent.core.redirect import Ruleset, iptables
from agent.privileged import Refusal
from agent.privileged.system import programs

# The lock of the legacy tables is every program's on the host; below the privileged helper's own time limit.
_WAIT: Final = ("--wait", "2")
KINDS: Final = ("nft", "legacy")
_PREFIXES: Final = {4: "iptables", 6: "ip6tables"}
_NEEDS: Final = "iptables with nat, filter, and the matches tcp, multiport, owner, comment and conntrack"
# Of the legacy kind: the names of those in use.
_TABLES: Final = {4: "/proc/thread-self/net/ip_tables_names", 6: "/proc/thread-self/net/ip6_tables_names"}
_IPV6: Final = Path("/proc/thread-self/net/if_inet6")  # a kernel without IPv6 has no such file


def hosts_kind() -> str | None:
    """What the host's own `iptables` is: "nft" or "legacy"; None: it has none. Before 1.8 there was one kind."""
    program = programs.find("iptables")
    if program is None:
        return next((kind for kind in KINDS if programs.find(f"iptables-{kind}-restore")), None)
    return "nft" if "nf_tables" in _version(program) else "legacy"


def _version(program: str) -> str:
    return programs.run(program, "--version").stdout


class Iptables:
    def __init__(self, kind: str) -> None:
        self._kind = kind

    def holds(self) -> bool:
        return any(iptables.parse(text).holds for text in self.seen().values())

    def read(self) -> Ruleset | None:
        from agent.core.redirect import iptables_read  # where nftables is in use, no rules are read here

        texts = self._texts()
        return iptables_read.read(texts[4], texts.get(6))

    def replace(self, rules: Ruleset | None) -> None:
        """Both IP versions, or neither."""
        before, texts = self.read(), self._texts()
        inputs = _inputs(texts, rules)
        for version, text in inputs.items():
            self.restore(version, text, "--test")
        for done, (version, text) in enumerate(inputs.items()):
            try:
                self.restore(version, text)
            except Refusal:
                if done and not (before and before.foreign):
                    self.restore(4, _inputs(self._texts(), before)[4])
                raise

    def counters(self) -> list[dict[str, object]]:
        from agent.core.redirect import iptables_counts

        texts = [self._save(version, "-c") for version in _versions()]
        return [vars(count) for count in iptables_counts.counts(texts)]

    def seen(self) -> dict[int, str]:
        """IP version → what save says, without those of which this host lacks the program or the kernel part.
        Raises Refusal."""
        able = [version for version in _versions() if self._program(version, "save") is not None]
        texts = {version: programs.there(partial(self._save, version)) for version in able}
        return {version: text for version, text in texts.items() if text is not None}

    def guide_chains(self) -> tuple[str, ...]:
        """The manually created chains of Linkerd's guide, and the tables that they are in. Raises Refusal."""
        from agent.core.redirect import guide_chains

        if self._program(4, "save") is None:
            return ()
        return tuple(
            f"iptables-{self._kind} IPv{version} {name}"
            for version, text in self._texts().items()
            for name in guide_chains.guide_chains(iptables.parse(text))
        )

    def remove_guide_chains(self) -> None:
        """Raises Refusal."""
        from agent.core.redirect import guide_chains

        if self.guide_chains():
            for version, text in self._texts().items():
                self.restore(version, guide_chains.removal(iptables.parse(text)))

    def _texts(self) -> dict[int, str]:
        """IP version → what save says. It prints nothing for a table that is not in use, and creates none."""
        return {version: self._save(version) for version in _versions()}

    def _save(self, version: int, *more: str) -> str:
        program = self._need(version, "save")
        if self._kind == "legacy" and not _used(version):
            return ""  # as the program would say
        done = programs.run(program, *more)
        if done.returncode != 0:
            raise programs.refusal(f"read the rules by {program}", done.stderr, _NEEDS)
        return done.stdout

    def restore(self, version: int, text: str, *more: str) -> None:
        if not text:
            return
        done = programs.run(self._need(version, "restore"), *_WAIT, "--noflush", *more, input=text)
        if done.returncode != 0:
            raise programs.refusal(programs.SET, done.stderr, _NEEDS)

    def _need(self, version: int, what: str) -> str:
        program = self._program(version, what)
        if program is None:
            raise programs.missing(f"{_PREFIXES[version]}-{self._kind}-{what}")
        return program

    def _program(self, version: int, what: str) -> str | None:
        prefix = _PREFIXES[version]
        if path := programs.find(f"{prefix}-{self._kind}-{what}"):
            return path
        return programs.find(f"{prefix}-{what}") if hosts_kind() == self._kind else None


def _used(version: int) -> bool:
    """Tables of the legacy kind are in use, or only the program can tell."""
    try:
        return bool(Path(_TABLES[version]).read_text())
    except FileNotFoundError:  # this kernel has none
        return False
    except PermissionError:
        return True


def legacy_in_use() -> bool:
    """Rules of the legacy kind may be in force, ours or others'."""
    return any(map(_used, _TABLES))


def _versions() -> tuple[int, ...]:
    return (4, 6) if _IPV6.exists() else (4,)


def _inputs(texts: Mapping[int, str], rules: Ruleset | None) -> dict[int, str]:
    return {version: iptables.restore(iptables.parse(text), rules, version) for version, text in texts.items()}
