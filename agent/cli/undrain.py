"""fairlead undrain"""

import argparse

from agent.cli.kit.follow import follow, follow_arguments, must_not_have_left, serves

DESCRIPTION = """\
Ends a `fairlead drain`. The host becomes Ready when identity, proxy, redirect and probes are as intended.
The command waits for that, up to --timeout. It does nothing on a host that is already serving.

  sudo fairlead undrain               and wait until the host is Ready
  sudo fairlead undrain --timeout 60  for 60 s at most"""


def arguments(parser: argparse.ArgumentParser) -> None:
    follow_arguments(parser, "the host is Ready", 120.0)


def run(args: argparse.Namespace) -> int:
    must_not_have_left(args, "undrain this host")
    return follow(args, "member", "undrain this host", serves)
