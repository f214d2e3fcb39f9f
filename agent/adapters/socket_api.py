"""What docs/openapi.json says of the routes of the agent's sockets: who may ask, what is sent, what comes back."""

from typing import Final

from agent.adapters.http_server import Described

READERS: Final = "root and the group fairlead"
PUSHERS: Final = "root and the group fairlead-push"
OPERATORS: Final = "root; the group of socket.operators for the part that is named"
_OBJECT: Final = {"type": "object"}

STATUS: Final = Described(
    "The status of this host, as docs/status-json.md describes it.",
    READERS,
    query={
        "after": {"type": "integer", "description": "a version: wait until the status has another one"},
        "wait": {"type": "number", "description": "seconds to wait at most; 60 is the longest and the default"},
    },
    answer=_OBJECT,
)
PHASE: Final = Described(
    "Asks for a phase; the answer is the status. Operators may drain and undrain a member.",
    OPERATORS,
    body={
        "type": "object",
        "properties": {"phase": {"enum": ["member", "drained", "left", "shutting-down"]}},
        "required": ["phase"],
    },
    answer=_OBJECT,
    refusals=(400, 403, 409),
)
ORDER: Final = Described(
    "Gives an order. Operators may reload without a restart of the proxy.",
    OPERATORS,
    names=("reload", "proxy-upgrade", "proxy-rollback", "proxy-restart", "proxy-check", "proxy-log-level"),
    body={
        "type": "object",
        "properties": {
            "restart_proxy": {"type": "boolean", "description": "reload: restart the proxy if a change needs it"},
            "force": {"type": "boolean", "description": "of the proxy: despite known faults"},
            "version": {"type": "string", "description": "proxy-upgrade, proxy-check: an installed version"},
            "filter": {
                "type": "string",
                "description": "proxy-log-level: the new filter; without it, none is set",
            },
        },
    },
    answer=_OBJECT,
    refusals=(400, 403, 409),
)
PUSH: Final = Described(
    "A heartbeat of the application, for a probe of kind push.",
    PUSHERS,
    body={"type": "object", "properties": {"ttl": {"type": "number", "exclusiveMinimum": 0}}},
    answer=_OBJECT,
    refusals=(400, 404),
)
METRICS: Final = Described("The agent's metrics, as text for Prometheus.", READERS, answer=None)
METRICS_ALL: Final = Described("The same, and the proxy's page behind it.", READERS, answer=None)
