"""The host in a namespace, and sockets that listen there, as in tests/privileged."""

from tests.privileged.conftest import ears, host

__all__ = ["ears", "host"]
