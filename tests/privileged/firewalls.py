"""The backends, and what other owners of the firewall write."""

from tests.privileged.hosts import Host

BACKENDS = ("nftables", "iptables-nft", "iptables-legacy")


def force(host: Host, backend: str) -> None:
    text = host.config.read_text().replace("[redirect]", f'[redirect]\nbackend = "{backend}"', 1)
    host.config.write_text(text)


def leftovers(host: Host) -> str:
    """What there is of ours in any backend; "" for nothing."""
    programs = [f"{family}-{kind}-save" for family in ("iptables", "ip6tables") for kind in ("nft", "legacy")]
    saved = map(host.space.run, programs)
    lines = [*host.space.run("nft", "list", "tables").splitlines(), *"".join(saved).splitlines()]
    return "\n".join(line for line in lines if "fairlead" in line.lower())


def docker(host: Host, published: int, container: str, kind: str = "nft") -> None:
    """Docker's rules for one published port, as Docker writes them."""
    v6 = ":" in container
    program = f"{'ip6tables' if v6 else 'iptables'}-{kind}-restore"
    subnet = f"{container.rpartition(':' if v6 else '.')[0]}{'::/64' if v6 else '.0/24'}".replace(":::", "::")
    to = f"[{container}]:80" if v6 else f"{container}:80"
    host.space.run(
        program,
        *("--wait", "5", "--noflush"),  # the lock of the legacy tables is every test's
        input=f"""*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d {"::1/128" if v6 else "127.0.0.0/8"} -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s {subnet} ! -o docker0 -j MASQUERADE
-A DOCKER ! -i docker0 -p tcp -m tcp --dport {published} -j DNAT --to-destination {to}
COMMIT
*filter
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 -j ACCEPT
-A DOCKER -d {container} ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-P FORWARD DROP
COMMIT
""".replace("-P FORWARD DROP\n", ""),
    )


# As firewalld loads a zone that admits SSH alone; `OPENED` adds the service that is shipped.
FIREWALLD = """
table inet firewalld {
  chain filter_IN_public_allow { tcp dport 22 accept; }
  chain filter_IN_public { jump filter_IN_public_allow; meta l4proto { icmp, ipv6-icmp } accept; }
  chain filter_INPUT_POLICIES { iifname "lo" accept; jump filter_IN_public; reject with icmpx admin-prohibited; }
  chain filter_INPUT {
    type filter hook input priority 10; policy accept;
    ct state { established, related } accept
    ct status dnat accept
    iifname "lo" accept
    ct state invalid drop
    meta l4proto ipv6-icmp accept
    jump filter_INPUT_POLICIES
    reject with icmpx admin-prohibited
  }
}
"""
OPENED = "add rule inet firewalld filter_IN_public_allow tcp dport 4143 accept"


GUIDE = """
iptables-nft -t nat -N PROXY_INIT_REDIRECT
iptables-nft -t nat -A PROXY_INIT_REDIRECT -p tcp -m multiport --dports 4190,4191,4567,4568 -j RETURN
iptables-nft -t nat -A PROXY_INIT_REDIRECT -p tcp -j REDIRECT --to-port 4143
iptables-nft -t nat -A PREROUTING -j PROXY_INIT_REDIRECT
iptables-nft -t nat -A PREROUTING -j PROXY_INIT_REDIRECT
iptables-nft -t nat -N PROXY_INIT_OUTPUT
iptables-nft -t nat -A PROXY_INIT_OUTPUT -m owner --uid-owner root -j RETURN
iptables-nft -t nat -A PROXY_INIT_OUTPUT -o lo -j RETURN
iptables-nft -t nat -A PROXY_INIT_OUTPUT -p tcp -m multiport --dports 4567,4568 -j RETURN
iptables-nft -t nat -A PROXY_INIT_OUTPUT -p tcp -j REDIRECT --to-port 4140
iptables-nft -t nat -A OUTPUT -j PROXY_INIT_OUTPUT
"""
