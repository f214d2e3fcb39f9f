"""Which distributions a package leaves out, by what each brings: as its release notes say."""

from __future__ import annotations

from elf import Version

SYSTEMD = 252  # the oldest that the units know
# Name: glibc, systemd. docs/packaging.md has the same.
BRINGS: dict[str, tuple[Version, int]] = {
    "Debian 11": ((2, 31), 247),
    "Debian 12": ((2, 36), 252),
    "Debian 13": ((2, 41), 257),
    "Ubuntu 22.04": ((2, 35), 249),
    "Ubuntu 24.04": ((2, 39), 255),
    "RHEL 9": ((2, 34), 252),
    "RHEL 10": ((2, 39), 257),
    "Amazon Linux 2023": ((2, 34), 252),
    "Fedora 37": ((2, 36), 251),
    "Fedora 38": ((2, 37), 253),
    "SLES 15 SP5": ((2, 31), 249),
    "SLES 15 SP6": ((2, 38), 254),
}


def left_out(floor: Version) -> list[str]:
    return [name for name, (glibc, systemd) in BRINGS.items() if glibc < floor or systemd < SYSTEMD]
