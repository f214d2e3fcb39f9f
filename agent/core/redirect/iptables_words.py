"""One rule of iptables-save's, in its parts. Words may be quoted: what stands in a comment is no option."""

from collections.abc import Sequence

from agent.core.late import dataclass


@dataclass(frozen=True)
class Option:
    name: str
    values: tuple[str, ...]
    turned: bool = False  # a "!" before it


@dataclass(frozen=True)
class Line:
    """`more`: the target's own options. `goes`: by -g, so it does not come back."""

    chain: str
    options: tuple[Option, ...]
    target: str = ""
    goes: bool = False
    more: tuple[Option, ...] = ()

    def target_value(self, name: str) -> str | None:
        return next((option.values[0] for option in self.more if option.name == name and option.values), None)


_FREE = frozenset({"--comment", "--string", "--hex-string", "--log-prefix", "--nflog-prefix", "--name", "--path"})


def words(line: str) -> list[str]:
    """Raises ValueError: the quotes are not closed."""
    import shlex  # few lines need it

    return shlex.split(line) if '"' in line or "'" in line or "\\" in line else line.split()


def parsed(line: str) -> Line:
    """`line`: as "-A CHAIN …". Raises ValueError: it is no such line."""
    first, chain, *rest = words(line)
    if first != "-A":
        raise ValueError(f"no rule: {line}")
    options = _options(rest)
    at = next((i for i, option in enumerate(options) if option.name in ("-j", "-g")), len(options))
    target = options[at] if at < len(options) else Option("", ("",))
    return Line(
        chain, tuple(options[:at]), (target.values or ("",))[0], target.name == "-g", tuple(options[at + 1 :])
    )


def target(line: str) -> str:
    """Where the rule leads; "": nowhere, or it is not understood."""
    try:
        return parsed(line).target
    except ValueError:
        return ""


def _options(rest: Sequence[str]) -> list[Option]:
    options, left = [], list(rest)
    while left:
        name, turned = left.pop(0), False
        if name == "!" and left:
            name, turned = left.pop(0), True
        values = [left.pop(0)] if name in _FREE and left else []
        while name not in _FREE and left and left[0] != "!" and not left[0].startswith("-"):
            values.append(left.pop(0))
        options.append(Option(name, tuple(values), turned))
    return options
