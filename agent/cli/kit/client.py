"""A client of the agent's socket. It uses only the standard library, so that verbs start fast."""

import http.client
import json
import math
import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote

from agent.cli.kit.exits import Exit, Failure
from agent.core import text
from agent.host import Host

AGAIN = 3


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Client:
    """`doing`: the verb's action, for its errors ("read the status")."""

    def __init__(self, prefix: str, doing: str, timeout: float = 70.0) -> None:
        self._host = Host.below(prefix)
        self._path = self._host.socket
        self._doing, self._timeout = doing, timeout

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
        while True:
            try:
                return self._ask_once(method, target, body, min(within, self._timeout))
            except (BrokenPipeError, ConnectionResetError, http.client.HTTPException) as error:
                if not again:
                    raise self._absent(error) from None
                again -= 1

    def _ask_once(self, method: str, target: str, body: object, within: float) -> dict[str, Any]:
        connection = _Connection(self._path, within)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, target, payload, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            found: dict[str, Any] = text.shown_object(json.loads(answer.read()))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise self._absent(error) from None
        except PermissionError:
            raise Failure(
                Exit.NOT_PERMITTED, f"cannot {self._doing}: {self._path}: permission denied", "run it with sudo"
            ) from None
        except TimeoutError:
            raise Failure(Exit.UNAVAILABLE, f"cannot {self._doing}: the agent does not answer", _LOOK) from None
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


WRITE = (
    "write /etc/fairlead/fairlead.toml from /usr/share/doc/fairlead/examples/fairlead.toml, "
    "then: systemctl start fairlead"
)
_LOOK = "see: systemctl status fairlead"
