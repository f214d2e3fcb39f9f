"""The reasons of a host whose Lease another machine has."""

from collections.abc import Mapping

from agent.core.reason import Entry, Reason, Severity

MACHINES: Mapping[Reason, Entry] = {
    Reason.MACHINE_DIFFERS: Entry(
        Severity.FAULT, "another machine has this Lease", "re-imaged: fairlead enrol NAME --replace"
    ),
    Reason.HOST_DUPLICATED: Entry(
        Severity.FAULT,
        "another host with this machine-id renews the same Lease",
        "give the copy a machine-id (systemd-machine-id-setup) and a name (fairlead enrol) of its own",
    ),
}
