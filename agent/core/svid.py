"""An X.509-SVID, described: what is known of it without its key."""

from agent.core.late import dataclass, field


@dataclass(frozen=True)
class Svid:
    """An X.509-SVID as the Workload API gave it. `not_*`: seconds since the epoch, by its issuer. `chain`: leaf
    first, `bundle`: its trust domain's, both DER. In token mode it is what the token stands for (`core.token`)."""

    spiffe_id: str
    key_type: str  # "EC P-256" is the only one that linkerd2-proxy can serve with
    not_before: float
    not_after: float
    hint: str = ""
    flaw: str = ""  # what is wrong with it, where that can be seen on it alone
    chain: tuple[bytes, ...] = field(default=(), repr=False)
    # Not compared: a bundle that changes makes no new SVID.
    bundle: tuple[bytes, ...] = field(default=(), repr=False, compare=False)

    @property
    def lifetime(self) -> float:
        """Seconds."""
        return self.not_after - self.not_before

    @property
    def fingerprint(self) -> str:
        """Tells one SVID from any other; "" where there is no certificate."""
        import hashlib  # the start program of the proxy does without it

        return hashlib.sha256(self.chain[0]).hexdigest()[:16] if self.chain else ""
