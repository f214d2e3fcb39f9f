"""A client of the agent's socket. It loads little, so that verbs start fast."""

from __future__ import annotations

import json
import math
import time

from agent.cli.kit import exchange
from agent.cli.kit.exits import Exit, Failure
from agent.core import text
from agent.host import PUSH_SOCKET, PUSHERS, SOCKET, Host, below

TYPE_CHECKING = False  # type checkers know this name; that of `typing` takes long to load
if TYPE_CHECKING:
    from typing import Any

AGAIN = 3


class Client:
    """`doing`: the verb's action, for its errors ("read the status"). `pushes`: of the push socket.
    `to_open`: the remedy where this user may not open it."""

    def __init__(
        self, prefix: str, doing: str, timeout: float = 70.0, *, pushes: bool = False, to_open: str = ""
    ) -> None:
        self._prefix, self._path = prefix, below(prefix, PUSH_SOCKET if pushes else SOCKET)
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
        from urllib.parse import quote

        return self.ask("POST", f"/v1/probes/{quote(probe, safe='')}", {} if ttl is None else {"ttl": ttl})

    def ask(self, method: str, target: str, body: object = None, within: float = math.inf) -> dict[str, Any]:
        """An agent that reloads its configuration closes unanswered requests. A request that may be repeated is
        sent again, at most AGAIN times."""
        again = 0 if target.startswith("/v1/orders/") else AGAIN
        until = time.monotonic() + min(within, self._timeout)
        while True:
            try:
                return self._ask_once(method, target, body, until)
            except exchange.Unanswered as error:
                if not again:
                    raise self._absent(error) from None
                again -= 1

    def _ask_once(self, method: str, target: str, body: object, until: float) -> dict[str, Any]:
        payload = None if body is None else json.dumps(body).encode()
        try:
            answer = exchange.ask(self._path, method, target, payload, until)
            found = _decoded(answer.body)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise self._absent(error) from None
        except PermissionError:
            raise Failure(
                Exit.NOT_PERMITTED, f"cannot {self._doing}: {self._path}: permission denied", self._to_open
            ) from None
        except exchange.Untrusted as error:
            raise Failure(Exit.UNAVAILABLE, f"cannot {self._doing}: {error}", _LOOK) from None
        except TimeoutError:
            raise Failure(Exit.UNAVAILABLE, f"cannot {self._doing}: the agent does not answer", _LOOK) from None
        except OSError as error:
            cause = f"{self._path}: {error.strerror or error}"
            raise Failure(Exit.UNAVAILABLE, f"cannot {self._doing}: {cause}", _LOOK) from None
        if answer.status != 200:
            code = Exit.NOT_PERMITTED if answer.status == 403 else Exit.FAILED
            cause = found.get("error", answer.reason)
            raise Failure(code, f"cannot {self._doing}: {cause}", str(found.get("remedy", "")))
        return found

    def _absent(self, error: Exception) -> Failure:
        refused = isinstance(error, FileNotFoundError | ConnectionRefusedError)
        cause = "no agent is running" if refused else f"the agent ended during the request ({error})"
        configured = Host.below(self._prefix).configuration.exists()
        remedy = _LOOK if configured else WRITE
        return Failure(Exit.UNAVAILABLE, f"cannot {self._doing}: {cause} ({self._path})", remedy)


def _decoded(answer: bytes) -> dict[str, Any]:
    try:
        found = json.loads(answer)
        if isinstance(found, dict):
            return text.shown_object(found)
    except (ValueError, RecursionError):
        pass
    raise exchange.Untrusted("the answer is not a JSON object")


WRITE = (
    "write /etc/fairlead/fairlead.toml from /usr/share/doc/fairlead/examples/fairlead.toml, "
    "then: systemctl start fairlead"
)
_LOOK = "see: systemctl status fairlead"
