"""The manual pages: fairlead(1) from the command's own parsers, fairlead.toml(5) from the example's comments.

fairlead.service(8) is written by hand, in files/fairlead.service.8.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

SEE_ALSO = {
    1: ".BR fairlead.toml (5),\n.BR fairlead.service (8)",
    5: ".BR fairlead (1),\n.BR fairlead.service (8)",
}
Verbs = dict[str, tuple[str, argparse.ArgumentParser]]


def command(parser: argparse.ArgumentParser, version: str) -> str:
    """fairlead(1)."""
    lines = [_title("FAIRLEAD", 1, version), ".SH NAME", r"fairlead \- make this host a member of a Linkerd mesh"]
    lines += [".SH SYNOPSIS", ".B fairlead", r"[\-\-version] [\-\-help]", ".I VERB", "\\&..."]
    lines += [".SH DESCRIPTION", *paragraphs(parser.description or ""), ".SH VERBS"]
    for name, (_, verb) in verbs(parser).items():
        lines += _verb(name, verb)
    lines += [".SH EXIT STATUS", *paragraphs((parser.epilog or "").removeprefix("exit codes: "))]
    return "\n".join([*lines, ".SH FILES", *_FILES, ".SH SEE ALSO", SEE_ALSO[1], ""])


def configuration(example: str, version: str) -> str:
    """fairlead.toml(5): each comment, and below it the keys that it is about."""
    lines = [_title("FAIRLEAD.TOML", 5, version), ".SH NAME", r"fairlead.toml \- the configuration of fairlead(1)"]
    lines.append(".SH DESCRIPTION")
    for line in example.splitlines():
        lines += _toml(line)
    return "\n".join([*lines, ".SH SEE ALSO", SEE_ALSO[5], ""])


def verbs(parser: argparse.ArgumentParser) -> Verbs:
    """The verbs of a parser, each with its one line of help; none where it has none."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {one.dest: one.help or "" for one in action._choices_actions}
            return {name: (helps.get(name, ""), verb) for name, verb in action.choices.items()}
    return {}


def paragraphs(text: str) -> Iterator[str]:
    """Prose flows; indented lines, which are tables and examples, stay as they are."""
    kept = False
    for line in text.splitlines():
        if kept is not line.startswith(" "):
            kept = not kept
            yield ".nf" if kept else ".fi"
        yield _plain(line) if line else ".PP"
    if kept:
        yield ".fi"


def _verb(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f".SS {_plain(parser.prog)}"
    usage = " ".join(parser.format_usage().removeprefix("usage: ").replace("[-h] ", "").split())
    yield from (".nf", f"\\fB{_plain(usage)}\\fR", ".fi", ".PP", *paragraphs(parser.description or ""))
    for action in parser._actions:
        if action.help and not isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)):
            yield from (".TP", f"\\fB{_plain(_invocation(parser, action))}\\fR", _plain(action.help))
    for inner, (_, verb) in verbs(parser).items():
        yield from _verb(f"{name} {inner}", verb)


def _invocation(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    return parser._get_formatter()._format_action_invocation(action)


def _toml(line: str) -> Iterator[str]:
    key = line.removeprefix("# ").split(" = ")[0]
    if line.startswith("["):
        yield from (".SH", _plain(line.strip("[]").upper()), _plain(f"Keys of {line}"), ".PP")
    elif " = " in line and key.isidentifier():
        yield from (".RS", f"\\fB{_plain(line.removeprefix('# '))}\\fR", ".RE")
    elif line.startswith("#  "):
        yield from (".br", _plain(line[1:]))
    else:
        yield _plain(line.removeprefix("#").strip()) if line else ".PP"


def _title(name: str, section: int, version: str) -> str:
    return f'.TH {name} {section} "" "fairlead {version}" "fairlead"'


def _plain(text: str) -> str:
    """Nothing in it is an instruction to the formatter; a hyphen is one that can be typed."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("`", "").replace("'", r"\(aq")
    return rf"\&{text}" if text.startswith(".") else text


_FILES = [
    *(".TP", ".I /etc/fairlead/fairlead.toml", "the configuration; without it nothing is started"),
    *(".TP", ".I /run/fairlead/fairlead.sock", "the status socket, read by the verbs"),
    *(".TP", ".I /var/lib/fairlead", "what must outlive a reboot: the phase, the last approved redirect, proxies"),
]
