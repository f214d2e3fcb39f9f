"""The agent as a process. Its first request to the privileged helper is sent before most modules are loaded, since
the answer takes as long as they do.
"""

import asyncio

from agent.adapters import instance, spawn
from agent.adapters.helper import Helper
from agent.config import Config, derived
from agent.host import Host


class CannotStart(Exception):
    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause)
        self.remedy = remedy


def run(config: Config, prefix: str, *, json_log: bool = False) -> None:
    """Run until SIGTERM or SIGINT. Raises CannotStart."""
    try:
        owner = derived.proxy_owner(config)
    except KeyError:
        remedy = "create it (useradd --system --shell /usr/sbin/nologin NAME), or correct proxy.user"
        raise CannotStart(f"there is no user {config.proxy.user!r} for the proxy", remedy) from None
    host = Host.below(prefix)
    try:
        with instance.only_one(host.agent_lock):
            spawn.gain_nothing()
            helper = Helper(str(host.prefix))
            helper.begin("redirect check")
            from agent.daemon import configurations, logs

            logs.configure(json=json_log, workload=f"{config.workload.namespace}/{config.workload.name}")
            asyncio.run(configurations.live(config, host, owner, helper))
    except instance.Held:
        raise CannotStart("another agent is running", "stop it: systemctl stop fairlead") from None
    except PermissionError as error:
        raise CannotStart(f"{error.filename}: permission denied", "run it as root, or by its unit") from None
