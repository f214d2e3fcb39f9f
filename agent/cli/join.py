"""fairlead join"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.cli.kit import redirects
from agent.cli.kit.configuration import list_problems, read
from agent.cli.kit.exits import Exit, Failure, complain, must_be_root
from agent.cli.kit.follow import follow, follow_arguments, serves
from agent.host import Host

if TYPE_CHECKING:
    from agent.core.enrol.bundle import Bundle
    from agent.offline.join import Plan

DESCRIPTION = """\
With a BUNDLE that `fairlead enrol` wrote ("-": standard input), as root: writes /etc/fairlead after every check,
shows what changes and what `fairlead doctor` finds wrong, starts the service with the redirect on trial, and
waits until the host is Ready, for --timeout seconds, at most 3540; then the redirect is kept. A second run shows
what differs. A value that a person set is never overwritten: the command is refused and names it, unless
--replace.

  fairlead join db-1.bundle --fingerprint SHA256

Without a bundle: reverts a `fairlead leave`. The proxy is started, the redirect is set, and the host becomes Ready
when identity, proxy, redirect and probes are as intended. The command waits for that, up to --timeout.

A declared port whose server speaks first is not redirected while it is not opaque (ServerSpeaksFirst), because
connections of clients outside the mesh would fail. --force redirects it anyway; it needs root.

  sudo fairlead join db-1.bundle --fingerprint SHA256  add a new host
  sudo fairlead join                                   revert a `fairlead leave`"""

_ENROL = "`fairlead enrol NAME --bundle FILE` writes it"
_SPARE = 60.0  # seconds that the trial lasts after --timeout, for an operator to act
_SHORTEST, _LONGEST = 5.0, 3600.0  # of a trial
_ON_TRIAL = (
    "the agent continues, see: fairlead status --watch; the redirect is reverted in a minute unless it is kept:"
    " run this command again once the cause is gone, or: fairlead redirect confirm"
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", nargs="?", type=Path, help='a file; "-": standard input')
    parser.add_argument("--fingerprint", metavar="SHA256", help="of the bundle; another one is refused")
    parser.add_argument("--yes", action="store_true", help="do not ask before the change")
    parser.add_argument("--replace", action="store_true", help="overwrite what a person set; a copy stays")
    parser.add_argument("--no-start", action="store_true", help="write the files, and start nothing")
    follow_arguments(parser, "the host is Ready", 120.0)
    parser.add_argument(
        "--force", action="store_true", help="include ports whose server speaks first and that are not opaque"
    )


def run(args: argparse.Namespace) -> int:
    if args.bundle is not None:
        return _join(args)
    if args.force:
        redirects.ask(args, "join the mesh", "redirect accept-greetings")
    return follow(args, "member", "join the mesh", serves)


def _join(args: argparse.Namespace) -> int:
    if not args.no_start:
        _must_end_on_trial(args.timeout)
    must_be_root("join the mesh")
    plan = _plan(args, _bundle(args))
    _show(args, plan)
    if plan.changes and not (args.yes or _agreed(args)):
        raise Failure(Exit.FAILED, "cannot join the mesh: the changes were not accepted", "nothing was changed")
    if not args.no_start:
        _examine(args, plan)
    _write(args, plan)
    if args.no_start:
        return Exit.OK
    return _start(args)


def _must_end_on_trial(timeout: float) -> None:
    """Else the redirect is reverted while the command still waits. Raises Failure."""
    most = _LONGEST - _SPARE
    if not timeout <= most:
        cause = f"cannot join the mesh: --timeout is above {most:.0f} s, and a trial ends after an hour"
        raise Failure(Exit.USAGE, cause, "give at most that; a second run of the command waits again")


def _bundle(args: argparse.Namespace) -> "Bundle":
    from agent.core.enrol import bundle

    try:
        found = bundle.read(read(args.bundle, _ENROL))
    except bundle.Unusable as error:
        raise Failure(Exit.CONFIG, f"cannot use the bundle: {error.cause}", error.remedy) from None
    if args.fingerprint and args.fingerprint.lower() != found.fingerprint:
        cause = f"cannot use the bundle: its fingerprint is {found.fingerprint}, not {args.fingerprint}"
        raise Failure(
            Exit.CONFIG, cause, "do not use it: fetch it again, and compare with what `fairlead enrol` said"
        )
    return found


def _plan(args: argparse.Namespace, bundle: "Bundle") -> "Plan":
    from agent.config import ConfigError
    from agent.offline import join

    try:
        plan = join.plan(args.prefix, bundle, replace=args.replace)
        if not args.no_start:
            join.check_host(args.prefix, plan.config)
    except ConfigError as error:
        raise list_problems("the configuration of the bundle", error) from None
    except join.Refused as error:
        raise Failure(Exit.FAILED, f"cannot join the mesh: {error.cause}", error.remedy) from None
    if plan.conflicts:
        listed = "; ".join(conflict.text for conflict in plan.conflicts)
        remedy = "keep these values: enrol the host with them; or take those of the bundle: --replace"
        raise Failure(Exit.CONFIG, f"cannot join the mesh: {listed}", remedy)
    return plan


def _show(args: argparse.Namespace, plan: "Plan") -> None:
    if args.json:
        changes = [{"key": one.key, "before": one.before, "after": one.after} for one in plan.changes]
        report = {"workload": plan.bundle.label, "fingerprint": plan.bundle.fingerprint, "changes": changes}
        print(json.dumps(report), flush=True)
    else:
        print("\n".join(_lines(plan)), flush=True)


def _lines(plan: "Plan") -> Iterator[str]:
    yield f"{plan.bundle.label}, bundle {plan.bundle.fingerprint}"
    for change in plan.changes:
        if change.key not in plan.bundle.files:
            yield f"  {change.key}: {change.before or 'absent'} → {change.after or 'absent'}"
        else:
            yield f"  {change.key}: {'other content' if change.before else 'new'}"
    if not plan.changes:
        yield "  nothing differs from what is on this host"


def _agreed(args: argparse.Namespace) -> bool:
    if str(args.bundle) == "-" or not sys.stdin.isatty():
        remedy = "accept them with --yes"
        raise Failure(Exit.USAGE, "cannot join the mesh: the changes must be accepted", remedy)
    return input("Change this host? [y/N] ").strip().lower() in ("y", "yes")


def _examine(args: argparse.Namespace, plan: "Plan") -> None:
    """What fails is named, with its fix. The command goes on: an entry of SPIRE that is new takes seconds, and the
    redirect is on trial."""
    from agent.core.doctor.check import Result
    from agent.offline.doctor import before_join, main

    try:
        found = before_join.examine(args.prefix, plan, main.Wanted())
    except OSError as error:
        complain(f"cannot run the checks of fairlead doctor: {error.filename or ''}: {error.strerror}")
        return
    for one in found:
        if one.outcome.result is Result.FAIL:
            complain(f"{one.check.name}: {one.outcome.why}", one.outcome.fix)


def _write(args: argparse.Namespace, plan: "Plan") -> None:
    from agent.offline import join

    try:
        join.write(args.prefix, plan)
    except OSError as error:
        cause = f"cannot write {error.filename or Host.below(args.prefix).configuration.parent}: {error.strerror}"
        raise Failure(Exit.FAILED, cause, "run the command again: it completes what is missing") from None


def _start(args: argparse.Namespace) -> int:
    """The redirect on trial first, so that rules which cannot be set stop the command before the start."""
    from agent.offline import service

    deadline = time.monotonic() + args.timeout
    trial = max(_SHORTEST, args.timeout + _SPARE)
    words = redirects.session() | ({"force": "yes"} if args.force else {})
    answer = redirects.ask(args, "set the redirect", "redirect apply", confirm=f"{trial:.0f}", **words)
    try:
        service.start()
    except service.Failed as failed:
        raise Failure(Exit.FAILED, f"cannot start the agent: {failed}", "see: systemctl status fairlead") from None
    _until_it_answers(args, deadline)
    args.timeout = max(0.0, deadline - time.monotonic())
    try:
        code = follow(args, "member", "join the mesh", serves)
    except Failure as failure:
        if failure.code is Exit.LATE and "trial" in answer:
            failure.remedy = _ON_TRIAL
        raise
    if "trial" in answer and not args.no_wait:
        _keep(args)
    return code


def _keep(args: argparse.Namespace) -> None:
    redirects.ask(args, "keep the redirect", "redirect confirm")


def _until_it_answers(args: argparse.Namespace, deadline: float) -> Mapping[str, Any]:
    from agent.cli.kit import until

    client = until.client(args, "join the mesh")
    return next(until.statuses(client, deadline, restarts=True))
