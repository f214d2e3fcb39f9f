"""What the programs on a host may hold and do: budgets that count and measure no time.

Each has its number and its reason here, and nowhere else. A number that has to rise is changed here, with the
reason for it. Opcodes and modules are those of Python 3.11; another version may have a few more.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Budget:
    most: int
    why: str

    def check(self, found: int, what: str) -> None:
        assert found <= self.most, f"{what}: {found}, and the budget is {self.most} ({self.why})"


# the running agent -----------------------------------------------------------------------------------

# Libraries in memory, and what needs them. docs/decisions.md has what each costs.
LIBRARIES: Final = {
    "_cffi_backend": "cryptography",
    "_openssl": "cryptography",
    "aiohappyeyeballs": "API server",
    "cryptography": "SVIDs and trust anchors",
    "google": "messages of the Workload API (protobuf)",
    "h11": "API server, status socket, admin port of the proxy, HTTP probes",
    "h2": "Workload API, gRPC probes",
    "hpack": "h2",
    "hyperframe": "h2",
    "jeepney": "systemd's bus",
    "structlog": "the log",
}
AGENT_MODULES: Final = Budget(205, "199 of its own with each kind of identity, and probes over HTTP and gRPC")
AGENT_THREADS: Final = Budget(12, "5: the main one, asyncio's pool for what blocks, and one for each child")
AGENT_DESCRIPTORS: Final = Budget(
    28, "22: log, lock, pipes of the proxy's child, sockets of its loop and its peers"
)

# programs that live for a moment: most of their time is that of their imports -----------------------------

PROGRAM_MODULES: Final = {
    "fairlead status": Budget(107, "103: argparse, json and a socket; no library that reads HTTP"),
    "fairlead --help": Budget(81, "77: argparse; no verb"),
    "proxyunit.start": Budget(278, "270: h2, protobuf and cryptography, which ask and judge for an identity"),
    "proxyunit.arm": Budget(164, "158: what reads the proxy's pages and the owners of its ports"),
    "proxyunit.ended": Budget(61, "58: what starts nft, and what `-m` loads itself"),
}

# one request of the privileged helper ------------------------------------------------------------------

HELPER_MODULES: Final = {
    "redirect check": Budget(149, "145: what reads rules, and nothing that sets them"),
    "redirect check, with a configuration": Budget(169, "164: what reads and judges that, too"),
    "proxy kill": Budget(127, "123: systemctl alone, so neither rules nor configuration"),
}
HELPER_OPCODES: Final = {
    "redirect check": Budget(580_000, "0.53 million, most of them to import: modules, patterns, enums"),
    "redirect check, with a configuration": Budget(
        970_000, "0.89 million, two fifths of them for the configuration"
    ),
    "proxy kill": Budget(460_000, "0.41 million, most of them to import"),
}
HELPER_PROGRAMS: Final = {
    "redirect check": Budget(5, "3: nft for our table, and iptables of each kind for what is left over"),
    "redirect check, with a configuration": Budget(5, "3: the same"),
    "proxy kill": Budget(1, "systemctl"),
}

# the decision ------------------------------------------------------------------------------------------

DECIDE_OPCODES: Final = Budget(2_900, "2,335 on a host that serves; it runs at each change and every 5 s")

# an hour in which nothing changes, in virtual time ------------------------------------------------------

IDLE_REQUESTS: Final = Budget(16, "rules and firewall once in 10 minutes each, beside those of the start")
IDLE_READINGS: Final = Budget(365, "a proxy that works is read every 10 s")
IDLE_DECISIONS: Final = Budget(725, "one each 5 s: the Lease and the watchdog depend on it")
IDLE_LOOKS_AT_FOLDERS: Final = Budget(725, "statvfs each 5 s starts no program and writes nothing")
IDLE_LOOKS_AT_PREPARED: Final = Budget(365, "a dozen calls of stat each 10 s; no program, no request")
IDLE_WRITES: Final = Budget(0, "nothing has changed")
