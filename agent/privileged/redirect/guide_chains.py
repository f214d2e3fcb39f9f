"""The manually created chains of Linkerd's guide on this host, by either kind of iptables."""

from agent.privileged.redirect.backends.iptables import KINDS, Iptables


def chains() -> tuple[str, ...]:
    """As "iptables-nft IPv4 PROXY_INIT_REDIRECT". Raises Refusal."""
    return tuple(name for kind in KINDS for name in Iptables(kind).guide_chains())


def remove() -> None:
    """Raises Refusal. Connections that the chains have redirected go on."""
    for kind in KINDS:
        Iptables(kind).remove_guide_chains()
