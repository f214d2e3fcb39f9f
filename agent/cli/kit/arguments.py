"""Arguments that several verbs have."""

import argparse


def prefix_argument(parser: argparse.ArgumentParser, default: str = "") -> None:
    parser.add_argument(
        "--prefix",
        default=default,
        metavar="DIR",
        help="directory before /etc/fairlead, /run/fairlead and /var/lib/fairlead (default: none)",
    )
