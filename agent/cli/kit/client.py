"""A client of the agent's socket. It uses only the standard library, so that verbs start fast."""

import http.client
import json
import math
import os
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from agent.cli.kit.exits import Exit, Failure
from agent.core import text
from agent.host import PUSHERS, Host, agent_uid, peer

AGAIN = 3
MOST = 8 << 20  # bytes of an answer


class _Untrusted(Exception):
    """What answered is not an agent; says why."""


class _Bounded(socket.socket):
    """One deadline (monotonic) for all that is sent and received, and at most MOST bytes of it."""

    def __init__(self, until: float) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self._until, self._rest = until, MOST

    def limit(self) -> None:
        """Raises TimeoutError."""
        rest = self._until - time.monotonic()
        if rest <= 0:
            raise TimeoutError
        self.settimeout(rest)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        self.limit()
        received = super().recv_into(buffer, nbytes, flags)
        self._rest -= received
        if self._rest < 0:
            raise _Untrusted(f"the answer is longer than {MOST >> 20} MiB")
        return received


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, until: float) -> None:
        super().__init__("localhost")
        self._path, self._until = path, until

    def connect(self) -> None:
        self.sock = bounded = _Bounded(self._until)
        bounded.limit()
        bounded.connect(str(self._path))
        if (uid := peer.uid(bounded)) not in {0, os.geteuid(), agent_uid()}:
            raise _Untrusted(f"{self._path} belongs to uid {uid}, not to root or the agent")


class Client:
    """`doing`: the verb's action, for its errors ("read the status"). `pushes`: of the push socket.
    `to_open`: the remedy where this user may not open it."""

    def __init__(
        self, prefix: str, doing: str, timeout: float = 70.0, *, pushes: bool = False, to_open: str = ""
    ) -> None:
        self._host = Host.below(prefix)
        self._path = self._host.push_socket if pushes else self._host.socket
        self._doing, self._timeout = doing, timeout
        self._to_open = to_open or (f"run it as a member of the group {PUSHERS}" if pushes else "run it with sudo")

    def status(self, after: int | None = None, wait: float = 60.0, within: float = math.inf) -> dict[str, Any]:
        """The status now; with `after`, as soon as its version is past that, or when `wait` seconds (60 at
        most) are over. `within`: seconds for the answer, if that is shorter than this client's timeout."""
        target = "/v1/status" + ("" if after is None else f"?after={after}&wait={wait:.3f}")
        return self.ask("GET", target, within=within)

    def phase(self, phase: str) -> dict[str, Any]:
        return self.ask("POST", "/v1/phase", {"phase": phase})

    def order(self, name: str, **words: str | bool) -> dict[str, Any]:
        """The status, or another answer of the order."""
        return self.ask("POST", f"/v1/orders/{name}", words)

    def push(self, probe: str, ttl: float | None) -> dict[str, Any]:
        """A heartbeat of the application; without `ttl` (seconds), the configured maximum."""
        return self.ask("POST", f"/v1/probes/{quote(probe, safe='')}", {} if ttl is None else {"ttl": ttl})

    def ask(self, method: str, target: str, body: object = None, within: float = math.inf) -> dict[str, Any]:
        """An agent that reloads its configuration closes unanswered requests. A request that may be repeated is
        sent again, at most AGAIN times."""
        again = 0 if target.startswith("/v1/orders/") else AGAIN
        until = time.monotonic() + min(within, self._timeout)
        while True:
            try:
                return self._ask_once(method, target, body, until)
            except (BrokenPipeError, ConnectionResetError, http.client.HTTPException) as error:
                if not again:
                    raise self._absent(error) from None
                again -= 1

    def _ask_once(self, method: str, target: str, body: object, until: float) -> dict[str, Any]:
        connection = _Connection(self._path, until)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, target, payload, {"Content-Type": "application/json"})
            with connection.getresponse() as answer:  # it holds the socket beyond the end of the connection
                found = _decoded(answer.read())
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise self._absent(error) from None
        except PermissionError:
            raise Failure(
                Exit.NOT_PERMITTED, f"cannot {self._doing}: {self._path}: permission denied", self._to_open
            ) from None
        except _Untrusted as error:
            raise Failure(Exit.UNAVAILABLE, f"cannot {self._doing}: {error}", _LOOK) from None
        except TimeoutError:
            raise Failure(Exit.UNAVAILABLE, f"cannot {self._doing}: the agent does not answer", _LOOK) from None
        except (BrokenPipeError, ConnectionResetError):
            raise
        except OSError as error:
            cause = f"{self._path}: {error.strerror or error}"
            raise Failure(Exit.UNAVAILABLE, f"cannot {self._doing}: {cause}", _LOOK) from None
        finally:
            connection.close()
        if answer.status != 200:
            code = Exit.NOT_PERMITTED if answer.status == 403 else Exit.FAILED
            cause = found.get("error", answer.reason)
            raise Failure(code, f"cannot {self._doing}: {cause}", str(found.get("remedy", "")))
        return found

    def _absent(self, error: Exception) -> Failure:
        refused = isinstance(error, FileNotFoundError | ConnectionRefusedError)
        cause = "no agent is running" if refused else f"the agent ended during the request ({error!r})"
        configured = self._host.configuration.exists()
        remedy = _LOOK if configured else WRITE
        return Failure(Exit.UNAVAILABLE, f"cannot {self._doing}: {cause} ({self._path})", remedy)


def _decoded(answer: bytes) -> dict[str, Any]:
    try:
        found = json.loads(answer)
        if isinstance(found, dict):
            return text.shown_object(found)
    except (ValueError, RecursionError):
        pass
    raise _Untrusted("the answer is not a JSON object")


WRITE = (
    "write /etc/fairlead/fairlead.toml from /usr/share/doc/fairlead/examples/fairlead.toml, "
    "then: systemctl start fairlead"
)
_LOOK = "see: systemctl status fairlead"
