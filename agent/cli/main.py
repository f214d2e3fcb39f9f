"""The command `fairlead`."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys

from agent import __version__
from agent.cli.kit import output
from agent.cli.kit.exits import EPILOG, Exit, Failure, complain
from agent.core import text

TYPE_CHECKING = False  # type checkers know this name; that of `typing` takes long to load
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# verb → module and help. A module is imported only for its own verb: the list of all of them needs none.
VERBS = {
    "run": ("run", "run the agent (started by systemd)"),
    "status": ("status", "show the state of this host in the mesh, and the reasons"),
    "doctor": ("doctor", "check everything that this host needs in the mesh, and say what to do"),
    "drain": ("drain", "stop new connections to this host, and keep the proxy running"),
    "undrain": ("undrain", "end a drain"),
    "leave": ("leave", "remove this host from the mesh"),
    "join": ("join", "make this host a member of the mesh, or add it again"),
    "probe": ("probe", "report for an application that it is healthy"),
    "proxy": ("proxy", "install and upgrade linkerd2-proxy"),
    "reload": ("reload", "read the edited configuration"),
    "check-config": ("check_config", "list every problem in a configuration file"),
    "plan": ("plan", "show the redirect rules, and how they differ from the live rules"),
    "redirect": ("redirect", "set, test, remove, show and trace the traffic redirect"),
    "sandbox": ("sandbox", "demonstrate how a host joins a mesh"),
    "enrol": ("enrol", "create what a host needs in the cluster, and its join bundle"),
    "retire": ("retire", "remove a host from the mesh for good, and delete what it has in the cluster"),
    "group": ("group", "bring the members of a WorkloadGroup to its template"),
    "manifest": (
        "manifest",
        "print the objects of a host or a group in the cluster, and who may connect, with comments",
    ),
    "import": ("import_manifests", "convert manifests of guides into manifests that work"),
    "anchors": ("anchors", "show and accept the mesh's trust anchors"),
    "identity-gate": ("identity_gate", "check whether this user can get the proxy's identity"),
    "shutdown-drain": ("shutdown_drain", "drain for the host's shutdown (run by fairlead-drain.service)"),
    "wait": ("wait", "wait until proxy and redirect are as intended (run by fairlead-wait.service)"),
    "list": ("list", "list the hosts of a fleet, and which of them serve; run by an operator"),
    "check": ("check", "check hosts from the cluster's side; run by an operator"),
    "support": ("support", "write one archive with what is needed to help with this host, without secrets"),
    "help": ("help", "explain a reason, or list them all"),
    "watcher": ("watcher", "in the cluster: mark dead hosts as not ready"),
}

# Verbs that read no secret, or one that they made. `status` shows what the agent says; without an agent it looks
# itself, and then makes no core file either.
_WITHOUT_SECRETS = ("status", "sandbox")

DESCRIPTION = """\
fairlead makes this host a member of a Linkerd mesh.

  fairlead sandbox              run a demonstration on this machine, without a change to its network
  fairlead check-config         list every problem in the configuration
  fairlead plan                 show the redirect rules before they are set
  fairlead redirect …           set them manually, on trial, and trace which rule decides about a connection
  fairlead status --watch       show the state of this host in the mesh, and the reasons
  fairlead doctor               check everything that this host needs, and say what to do
  fairlead drain, undrain       stop new connections to this host, and accept them again
  fairlead reload               read the edited configuration
  fairlead leave, fairlead join remove this host from the mesh, and add it again
  fairlead enrol, retire        create and delete what a host needs in the cluster; run by an operator
  fairlead manifest, import     print a host's objects and policies, and convert manifests of guides
  fairlead list                 list the hosts of a fleet, and which of them serve; run by an operator
  fairlead check                check hosts from the cluster's side; run by an operator
  fairlead support              write one archive with what is needed to help with this host
  fairlead help REASON          explain a reason, and what to do
  fairlead watcher              in the cluster: mark dead hosts as not ready

The agent itself is `fairlead run`, started by systemd."""


def main(argv: Sequence[str] | None = None) -> int:
    if argv is None and sys.argv[1:2] not in [[verb] for verb in _WITHOUT_SECRETS]:  # this process is the program
        from agent.host import secrecy

        secrecy.no_core_files()
    _escape_output()
    with output.visible():
        return _run(list(sys.argv[1:] if argv is None else argv))


def _run(arguments: list[str]) -> int:
    prefix = ""
    try:
        parser = build_parser(arguments[:1])
        if not arguments:
            parser.print_help()
            return Exit.OK
        args = parser.parse_args(arguments)
        prefix = getattr(args, "prefix", "")
        code: int = args.run(args)
        sys.stdout.flush()
    except Failure as failure:
        complain(failure.message, failure.remedy)
        return failure.code
    except KeyboardInterrupt:
        import signal

        return 128 + signal.SIGINT
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _reader_gone():
            import signal

            return 128 + signal.SIGPIPE
        from agent.cli.kit import crash

        return crash.reported(error, arguments[0] if arguments else "help", prefix)
    return code


def _reader_gone() -> bool:
    """Whatever reads standard output has ended, as `head` does."""
    try:
        written = sys.stdout.fileno()
    except (OSError, ValueError):  # a test's
        return False
    import select

    watched = select.poll()
    watched.register(written, 0)
    if not any(event & select.POLLERR for _, event in watched.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), written)  # what is left in the buffer goes there
    return True


def _escape_output() -> None:
    """Escape the characters that this terminal cannot show."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=text.ESCAPED)


class _Parser(argparse.ArgumentParser):
    """Suggests the nearest known value for an unknown one. (argparse does this from Python 3.14 on.)"""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        known = [str(choice) for choice in action.choices or ()]
        if known and value not in known:
            import difflib

            for near in difflib.get_close_matches(str(value), known, n=1):
                raise argparse.ArgumentError(action, f"unknown: {value}; did you mean {near}?")
        super()._check_value(action, value)


def build_parser(wanted: Sequence[str]) -> argparse.ArgumentParser:
    """With these verbs. Where there is none among them, all are listed, and none takes anything."""
    parser = _Parser(
        prog="fairlead",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fairlead {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True, prog=parser.prog)
    known = [verb for verb in VERBS if verb in wanted]
    for verb in known:
        _add(verbs, verb)
    for verb in () if known or "--version" in wanted else VERBS:
        verbs.add_parser(verb, help=VERBS[verb][1])
    return parser


def _add(verbs: argparse._SubParsersAction[_Parser], verb: str) -> None:
    name, help_text = VERBS[verb]
    module = importlib.import_module(f"agent.cli.{name}")
    parser = verbs.add_parser(
        verb,
        help=help_text,
        description=module.DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.arguments(parser)
    parser.set_defaults(run=module.run)
