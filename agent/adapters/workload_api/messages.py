"""The standard's protobuf messages, as far as the agent reads and writes them; the others' bytes are passed over.

message X509SVIDResponse { repeated X509SVID svids = 1; }
message X509SVID {
  string spiffe_id = 1;  bytes x509_svid = 2;  bytes x509_svid_key = 3;  bytes bundle = 4;  string hint = 5; }
message JWTSVIDRequest { repeated string audience = 1;  string spiffe_id = 2; }
message JWTSVIDResponse { repeated JWTSVID svids = 1; }
message JWTSVID { string spiffe_id = 1;  string svid = 2;  string hint = 3; }
"""

from collections.abc import Sequence
from typing import Any, Final

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import DecodeError

# The lines above, compiled; a test compiles them again. protobuf's own compiler in memory takes 0.5 MiB.
COMPILED: Final = (
    b'\n\x0eworkload.proto",\n\x10X509SVIDResponse\x12\x18\n\x05'
    b'svids\x18\x01 \x03(\x0b2\t.X509SVID"e\n\x08X509SVID\x12\x11\n\tsp'
    b"iffe_id\x18\x01 \x01(\t\x12\x11\n\tx509_svid\x18\x02 \x01(\x0c\x12\x15\n\rx509"
    b"_svid_key\x18\x03 \x01(\x0c\x12\x0e\n\x06bundle\x18\x04 \x01(\x0c\x12\x0c\n\x04hint\x18"
    b'\x05 \x01(\t"5\n\x0eJWTSVIDRequest\x12\x10\n\x08audience\x18\x01 \x03('
    b'\t\x12\x11\n\tspiffe_id\x18\x02 \x01(\t"*\n\x0fJWTSVIDResponse\x12'
    b'\x17\n\x05svids\x18\x01 \x03(\x0b2\x08.JWTSVID"8\n\x07JWTSVID\x12\x11\n\ts'
    b"piffe_id\x18\x01 \x01(\t\x12\x0c\n\x04svid\x18\x02 \x01(\t\x12\x0c\n\x04hint\x18\x03 \x01"
    b"(\tb\x06proto3"
)

_pool = descriptor_pool.DescriptorPool()  # the `spiffe` package adds messages of the same names to the default one
_pool.AddSerializedFile(COMPILED)


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(name))


_X509_ANSWER, _JWT_REQUEST, _JWT_ANSWER = map(_message, ("X509SVIDResponse", "JWTSVIDRequest", "JWTSVIDResponse"))


def x509_svids(answer: bytes) -> Sequence[Any]:
    """Messages X509SVID. Raises ValueError."""
    return _svids(_X509_ANSWER, answer)


def jwt_svids(answer: bytes) -> Sequence[Any]:
    """Messages JWTSVID. Raises ValueError."""
    return _svids(_JWT_ANSWER, answer)


def jwt_request(audience: str, spiffe_id: str) -> bytes:
    return bytes(_JWT_REQUEST(audience=[audience], spiffe_id=spiffe_id).SerializeToString())


def _svids(kind: Any, answer: bytes) -> Sequence[Any]:
    try:
        return tuple(kind.FromString(answer).svids)
    except DecodeError as error:
        raise ValueError(str(error)) from None
