"""The JWT side of a trust domain: signs JWT-SVIDs and publishes the keys that verify them. In memory only."""

import base64
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

ALGORITHM = "ES256"
Json = dict[str, Any]


class Refused(Exception):
    """A token that is not accepted: the cause."""


class JwtAuthority:
    """`issuer`: the `iss` of what it signs; "" leaves it out, as the standard allows."""

    def __init__(self, trust_domain: str, issuer: str = "") -> None:
        self.trust_domain, self.issuer = trust_domain, issuer
        self._keys: dict[str, ec.EllipticCurvePrivateKey] = {}
        self.rotate()

    def rotate(self) -> None:
        """Sign with a new key from now on. Tokens of the old keys stay valid until they expire."""
        self._signing = secrets.token_hex(8)
        self._keys[self._signing] = ec.generate_private_key(ec.SECP256R1())

    def sign(self, spiffe_id: str, audience: Sequence[str], ttl: float, **claims: object) -> str:
        """A JWT-SVID that lives `ttl` seconds from now; below zero: it has expired."""
        now = int(time.time())
        body: Json = {"sub": spiffe_id, "aud": list(audience), "iat": now, "exp": int(now + ttl)}
        body |= {"iss": self.issuer} if self.issuer else {}
        key = self._keys[self._signing]
        return jwt.encode(body | claims, key, algorithm=ALGORITHM, headers={"kid": self._signing})

    def keys(self, use: str) -> Json:
        """The JWK set. `use`: "jwt-svid" in a SPIFFE bundle, "sig" for OIDC."""
        return {"keys": [_jwk(kid, key, use) for kid, key in self._keys.items()]}

    def check(self, token: str, audiences: Sequence[str]) -> Mapping[str, Any]:
        """The claims of a JWT-SVID of this trust domain for one of `audiences`. Raises Refused."""
        try:
            key = self._keys[jwt.get_unverified_header(token)["kid"]].public_key()
            claims: Mapping[str, Any] = jwt.decode(
                token, key, [ALGORITHM], options={"require": ["exp", "aud", "sub"]}, audience=list(audiences)
            )
        except (jwt.InvalidTokenError, KeyError) as error:
            raise Refused(f"not a token of {self.trust_domain}: {error}") from None
        if not str(claims["sub"]).startswith(f"spiffe://{self.trust_domain}/"):
            raise Refused(f"its subject is not of {self.trust_domain}")
        return claims


class JwtAuthenticator:
    """What an AuthenticationConfiguration makes of a bearer token: one issuer, its audiences, the subject as the
    name of the user."""

    def __init__(self, authority: JwtAuthority, audiences: Sequence[str]) -> None:
        self._authority, self._audiences = authority, audiences

    def user(self, token: str) -> str:
        """ "" for no user."""
        try:
            claims = self._authority.check(token, self._audiences)
        except Refused:
            return ""
        return str(claims["sub"]) if claims.get("iss") == self._authority.issuer else ""


def _jwk(kid: str, key: ec.EllipticCurvePrivateKey, use: str) -> Json:
    point = key.public_key().public_numbers()
    x, y = (base64.urlsafe_b64encode(n.to_bytes(32)).rstrip(b"=").decode() for n in (point.x, point.y))
    return {"kty": "EC", "crv": "P-256", "kid": kid, "use": use, "alg": ALGORITHM, "x": x, "y": y}
