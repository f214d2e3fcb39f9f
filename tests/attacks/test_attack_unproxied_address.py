"""The attacker is a neighbour on the network. The application listens on every address, and the attacker dials one
that is not the workload's: IPv6's on every interface, or that of another interface.

What must hold: nothing redirects such a connection, for other traffic of the host must pass. So `fairlead plan`
names the port and these addresses.
"""

import json

from tests.cli.test_redirect import good
from tests.privileged.hosts import Host, Listeners, dial


def test_attack_by_another_address_of_the_host_is_told_by_plan(host: Host) -> None:
    host.peer.ip("route add 10.42.0.200 via 10.9.0.2")
    with Listeners() as ears:
        ears.add_proxy(host.space)
        ears.add(host.space, "0.0.0.0", 8080)
        good(host, "redirect apply")
        dial(host.peer, "10.42.0.200", 8080).close()  # the application itself, with the redirect on
        told = json.loads(good(host, "plan --json"))["unproxied"]
        assert "10.42.0.200" in told["8080"] and "10.9.0.2" not in told["8080"]
        text = good(host, "plan")
        assert "port 8080 is also reached at" in text and "→ have the application listen on" in text
    with Listeners() as ears:
        ears.add_proxy(host.space)
        ears.add(host.space, "10.9.0.2", 8080)
        assert json.loads(good(host, "plan --json"))["unproxied"] == {}
        assert "is also reached" not in good(host, "plan")
