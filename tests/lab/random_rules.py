"""Random small rulesets of nft and iptables, the same for the same seed."""

from dataclasses import dataclass
from random import Random

Choices = list[str]


@dataclass(frozen=True)
class Names:
    """What rules name. `networks`: of peers, and of what goes out."""

    version: int
    wire: str
    near: Choices
    far: Choices
    loopback: str

    @property
    def protocol(self) -> str:
        return "ip" if self.version == 4 else "ip6"


PORTS = ["8080", "4143", "4140", "80", "22"]
_HOOKS = {
    "prerouting": ["-300", "-150", "-120", "-100", "0"],
    "input": ["-150", "0", "50"],
    "output": ["-300", "-150", "-105", "0"],
    "postrouting": ["0", "100"],
}
_NAT = {"prerouting": ["-150", "-100"], "output": ["-150", "-100"], "postrouting": ["100"], "input": ["100"]}


# nft -----------------------------------------------------------------------------------------------


def nft(random: Random, names: Names) -> str:
    """One table, one or two base chains, a chain that rules may jump to and a set."""
    family = random.choice(["inet", "inet", names.protocol])
    more = "".join(f"  {_rule(random, names, 'filter', '', leads=False)}\n" for _ in range(random.randint(0, 2)))
    bases = [_base(random, names, number) for number in range(random.randint(1, 2))]
    kind = f"ipv{names.version}_addr"
    listed = f"set peers {{ type {kind}; flags interval; elements = {{ {random.choice(names.far)} }}; }}\n"
    return f"table {family} others {{\n{listed}chain more {{\n{more}}}\n{''.join(bases)}}}\n"


def _base(random: Random, names: Names, number: int) -> str:
    kind = random.choice(["filter"] * 4 + ["nat"])
    hooks = _NAT if kind == "nat" else _HOOKS
    hook = random.choice(list(hooks))
    policy = "drop" if kind == "filter" and random.random() < 0.25 else "accept"
    rules = "".join(f"  {_rule(random, names, kind, hook)}\n" for _ in range(random.randint(1, 4)))
    head = f"type {kind} hook {hook} priority {random.choice(hooks[hook])}; policy {policy};"
    return f"chain base{number} {{\n  {head}\n{rules}}}\n"


def _rule(random: Random, names: Names, kind: str, hook: str, *, leads: bool = True) -> str:
    conditions = [_condition(random, names) for _ in range(random.choice([0, 1, 1, 2, 2]))]
    if leads and random.random() < 0.15:
        return " ".join([*conditions[:1], _map(random, names)])
    return " ".join([*conditions, _statement(random, kind, hook, leads=leads)])


def _condition(random: Random, names: Names) -> str:
    port, protocol = random.choice(PORTS), names.protocol
    address = random.choice([*names.near, *names.far])
    found: list[str] = [
        f"tcp dport {port}",
        f"tcp dport != {port}",
        f"tcp dport {{ {port}, {random.choice(PORTS)}, 9000-9010 }}",
        f"tcp dport 4000-4{random.randint(100, 200)}",
        f"tcp sport {port}",
        f"th dport {port}",
        f"{protocol} saddr {address}",
        f"{protocol} saddr != {address}",
        f"{protocol} daddr {address}",
        f"{protocol} daddr != {address}",
        f"{protocol} saddr @peers",
        f"{protocol} daddr @peers",
        f"{protocol} saddr != @peers",
        f"{protocol} saddr . tcp dport {{ {random.choice(names.near)} . {port} }}",
        f"iifname {random.choice(['lo', names.wire, 'eth9'])}",
        f"iifname != {random.choice(['lo', names.wire])}",
        f"oifname {random.choice(['lo', names.wire, 'eth9'])}",
        f"oifname != {random.choice(['lo', names.wire])}",
        f'iifname "{names.wire[:2]}*"',
        f"ct state {random.choice(['new', 'established', 'established,related', 'invalid', 'untracked'])}",
        f"ct state != {random.choice(['new', 'established', 'invalid'])}",
        f"ct status {random.choice(['dnat', 'snat', 'assured'])}",
        f"ct direction {random.choice(['original', 'reply'])}",
        f"ct original {protocol} daddr {address}",
        f"meta l4proto {random.choice(['tcp', 'udp', '{ tcp, udp }'])}",
        f"meta nfproto ipv{random.choice([4, 6])}",
        "tcp flags & (fin|syn|rst|ack) == syn",
        "tcp flags & (fin|syn|rst|ack) != syn",
        f"tcp flags {random.choice(['syn', 'ack', 'syn,ack', 'rst'])}",
        f"tcp flags != {random.choice(['syn', 'ack'])}",
        "tcp flags syn / fin,syn,rst,ack",
        f"fib daddr type {random.choice(['local', 'unicast', 'multicast'])}",
        "fib daddr type != local",
        f"fib saddr type {random.choice(['local', 'unicast'])}",
        "fib saddr . iif oif exists",
        "fib saddr . iif oif missing",
        "meta pkttype host",
        "meta pkttype multicast",
        f"meta mark {random.choice([0, 7])}",
        "meta skuid 1000",
        "meta length > 10",
        "limit rate 1/second",
        "limit rate over 1000/second",
        "udp dport 53",
        "udp dport != 53",
        "icmp type echo-request",
        "icmpv6 type != echo-request",
        "ct mark 0",
        "ip ttl < 3",
        "ip6 hoplimit > 3",
        "tcp window > 0",
    ]
    return random.choice(found)


def _map(random: Random, names: Names) -> str:
    def done() -> str:
        return random.choice(["accept", "drop", "jump more", "goto more", "return"])

    return random.choice(
        [
            f"tcp dport vmap {{ 8080 : {done()}, 4143 : {done()}, 4140 : {done()} }}",
            f"ct state vmap {{ established : {done()}, related : accept, new : {done()}, invalid : {done()} }}",
            f"iifname vmap {{ lo : {done()}, {names.wire} : {done()} }}",
            f"{names.protocol} saddr vmap {{ {random.choice(names.far)} : {done()} }}",
        ]
    )


def _statement(random: Random, kind: str, hook: str, *, leads: bool) -> str:
    found = ["accept", "drop", "drop", "counter", "return", "counter accept", "counter drop", "continue"]
    found += ["meta mark set 7", "ct mark set 1"]
    found += ["jump more", "goto more"] if leads else []
    if kind == "filter":
        found += ["reject", "meta l4proto tcp reject with tcp reset"] if hook in ("input", "output", "") else []
        found += ["notrack"] * 2 if hook in ("prerouting", "output") else []
    if kind == "nat":
        found = ["accept", "return", "counter", "jump more"]
        found += ["meta l4proto tcp redirect to :9999"] * 3 if hook in ("prerouting", "output") else []
        found += ["masquerade"] * 2 if hook == "postrouting" else []
    return random.choice(found)


# iptables ------------------------------------------------------------------------------------------

_CHAINS = {
    "raw": ["PREROUTING", "OUTPUT"],
    "mangle": ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
    "nat": ["PREROUTING", "OUTPUT", "POSTROUTING", "INPUT"],
    "filter": ["INPUT", "OUTPUT"],
}


def iptables(random: Random, names: Names) -> str:
    """For iptables-restore: one or two tables, each with a chain of its own."""
    tables = random.sample(["raw", "mangle", "nat", "filter", "filter"], random.randint(1, 2))
    return "".join(_table(random, names, table) for table in dict.fromkeys(tables))


def _table(random: Random, names: Names, table: str) -> str:
    shut = random.choice(_CHAINS[table]) if table in ("filter", "mangle") and random.random() < 0.25 else ""
    heads = [f":{chain} {'DROP' if chain == shut else 'ACCEPT'} [0:0]" for chain in _CHAINS[table]]
    own = [f"-A MORE {_line(random, names, table, '')}" for _ in range(random.randint(0, 2))]
    chains = [random.choice(_CHAINS[table]) for _ in range(random.randint(1, 4))]
    rules = [f"-A {chain} {_line(random, names, table, chain)}" for chain in chains]
    return "\n".join([f"*{table}", *heads, ":MORE - [0:0]", *own, *rules, "COMMIT\n"])


def _line(random: Random, names: Names, table: str, chain: str) -> str:
    found = [_option(random, names, chain) for _ in range(random.choice([0, 1, 1, 2]))]
    words: list[str] = []
    for one in (*found, _target(random, table, chain)):
        more = one.replace("-p tcp ", "") if "-p tcp" in words else one
        flags = {word for word in more.split() if word in ("-p", "-s", "-d", "-i", "-o")}
        if not flags & set(" ".join(words).split()):
            words += [
                part for part in ("-p tcp" if "-p tcp " in more else "", more.replace("-p tcp ", "")) if part
            ]
    return " ".join(words)


def _option(random: Random, names: Names, chain: str) -> str:
    port, address = random.choice(PORTS), random.choice([*names.near, *names.far])
    net = address if "-" not in address else names.near[0]
    turned = random.choice(["", "", "! "])
    found = [
        f"-p tcp -m tcp {turned}--dport {port}",
        f"-p tcp -m tcp {turned}--sport {port}",
        f"-p tcp -m tcp --dport 4000:4{random.randint(100, 200)}",
        f"-p tcp -m multiport {turned}--dports {port},9000:9010",
        f"-p tcp -m multiport --ports {port}",
        f"-p tcp -m tcp {turned}--tcp-flags FIN,SYN,RST,ACK SYN",
        "-p tcp -m tcp --tcp-flags ALL SYN,ACK",
        "-p udp -m udp --dport 53",
        f"{turned}-s {net}",
        f"{turned}-d {net}",
        f"-m conntrack {turned}--ctstate {random.choice(['NEW', 'ESTABLISHED', 'RELATED,ESTABLISHED'])}",
        f"-m conntrack {turned}--ctstate INVALID",
        f"-m conntrack --ctstate {random.choice(['DNAT', 'SNAT', 'UNTRACKED'])}",
        f"-m conntrack --ctdir {random.choice(['ORIGINAL', 'REPLY'])}",
        f"-m addrtype {turned}--dst-type {random.choice(['LOCAL', 'UNICAST'])}",
        f"-m addrtype --src-type {random.choice(['LOCAL', 'UNICAST'])}",
        f"-m mark {turned}--mark 0x7",
        "-m limit --limit 1/sec",
        "-m pkttype --pkt-type unicast",
        '-m comment --comment "a -j DROP"',
        "-m state --state NEW",
    ]
    if chain in ("PREROUTING", "INPUT"):
        found += [f"{turned}-i {random.choice(['lo', names.wire, names.wire[:2] + '+'])}"] * 3
    if chain in ("OUTPUT", "POSTROUTING"):
        found += [f"{turned}-o {random.choice(['lo', names.wire, names.wire[:2] + '+'])}"] * 3
        found += [f"-m owner {turned}--uid-owner 1000"]
    spans = [one for one in names.far if "-" in one]
    found += [f"-m iprange --src-range {span}" for span in spans]
    return random.choice(found)


def _target(random: Random, table: str, chain: str) -> str:
    found = ["-j ACCEPT", "-j DROP", "-j DROP", "-j RETURN", ""]
    found += ["-j MORE", "-g MORE"] if chain else []
    if table == "nat":
        found = ["-j ACCEPT", "-j RETURN", ""]
        found += ["-p tcp -j REDIRECT --to-ports 9999"] * 3 if chain in ("PREROUTING", "OUTPUT") else []
        found += ["-j MASQUERADE"] * 2 if chain == "POSTROUTING" else []
    if table == "filter":
        found += ["-j REJECT", "-p tcp -j REJECT --reject-with tcp-reset"]
    if table == "raw":
        found += ["-j CT --notrack"] * 2
    if table == "mangle":
        found += ["-j MARK --set-mark 7", "-j CONNMARK --save-mark"]
    return random.choice(found)
