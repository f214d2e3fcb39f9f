"""The registry of what `fairlead doctor` asks on a host, in order of dependence."""

from typing import Final

from agent.core.doctor import api, identity, machine, network, rules
from agent.core.doctor.check import Check, unless

CONFIGURATION: Final = "configuration"

_HOST: Final[tuple[Check, ...]] = (
    Check(CONFIGURATION, "the configuration is root's, and has no problem", unless("no problem")),
    Check("disk", "/var/lib/fairlead can be written, with space left", machine.disk),
    Check(
        "workload-api",
        "the SPIFFE Workload API's socket is there, and both users can reach it",
        identity.socket_reached,
        (CONFIGURATION,),
    ),
    Check("clock", "the clock agrees with the API server's and with the SVIDs", identity.clock, (CONFIGURATION,)),
    Check(
        "agent-identity",
        "the agent's user gets the configured SVID",
        identity.svid,
        ("workload-api", "clock"),
    ),
    Check(
        "proxy-identity",
        "the proxy's user gets the configured SVID, by an entry of its own",
        identity.svid,
        ("workload-api", "clock"),
    ),
    Check("trust-anchors", "the trust anchors can be read and last", identity.anchors, (CONFIGURATION, "clock")),
    Check(
        "trust",
        "the trust anchors cover the proxy's SVID",
        identity.trusted,
        ("proxy-identity", "trust-anchors"),
        answers=("meshed clients fail with an unknown issuer",),
    ),
    Check(
        "control-plane-names",
        "names of the controllers have addresses by /etc/resolv.conf alone, as for the proxy: SRV first",
        network.names,
        (CONFIGURATION,),
        answers=("the proxy logs that it cannot resolve the policy controller",),
    ),
    Check("pod-routes", "there is a route to the networks of the pods", network.routes, (CONFIGURATION,)),
    Check(
        "control-plane",
        "the controllers answer on 8090 and 8086 (in token mode 8080 too), and prove to be Linkerd's",
        network.control_plane,
        ("control-plane-names", "pod-routes", "clock", "trust-anchors"),
    ),
    Check(
        "path-mtu",
        "a TLS hello longer than one segment is answered",
        network.path_mtu,
        ("control-plane",),
        answers=("connections open, and then hang",),
    ),
    Check(
        "api-server",
        "the API server answers, with a certificate of the configured authority and for its name",
        api.server,
        (CONFIGURATION, "clock"),
    ),
    Check(
        "api-credential",
        "the API server accepts the host's credential",
        api.credential,
        ("api-server", "agent-identity"),
    ),
    Check(
        "api-rights",
        "each right that the host needs is given, by SelfSubjectAccessReview",
        api.reviewed,
        ("api-credential",),
        answers=("Ready is never written", "ApiForbidden"),
    ),
    Check("workload", "the ExternalWorkload describes this host", api.workload, ("api-rights",)),
    Check("lease", "the Lease is there, and this machine's", unless("it is this machine's"), ("api-rights",)),
    Check(
        "application",
        "the application listens on the workload's addresses",
        network.application,
        (CONFIGURATION,),
        answers=("the proxy answers 502: connection refused",),
    ),
    Check(
        "proxy-binary",
        "linkerd2-proxy is installed, starts as the proxy's user, and takes its configuration",
        unless("it starts"),
        (CONFIGURATION, "trust-anchors"),
    ),
    Check(
        "proxy-ports",
        "no process of another user listens on the ports of the proxy",
        unless("4143, 4140 and 4191 are free for the proxy"),
        (CONFIGURATION,),
    ),
    Check(
        "guide-rules",
        "no chain that was made from Linkerd's guide is left",
        rules.guide,
        root=True,
        answers=("SSH or undeclared ports go through the proxy",),
    ),
    Check(
        "firewall",
        "the host's firewall lets peers reach the proxy, by the tracer over its rules",
        rules.firewall,
        (CONFIGURATION,),
        root=True,
        answers=("pods time out, and clients on the host's network do not",),
    ),
    Check(
        "redirect",
        "the redirect that the configuration asks for can be set, and harms nothing",
        unless("it can be set"),
        (CONFIGURATION, "guide-rules"),
        root=True,
    ),
    Check(
        "rules",
        "the live rules are those of the configuration in force",
        rules.live,
        (CONFIGURATION, "redirect"),
        root=True,
    ),
    Check(
        "replacement",
        "a replacement of the proxy drains nothing, where the configuration has two slots",
        machine.replacement,
        (CONFIGURATION,),
        answers=("every upgrade of the proxy takes this host out of its Service",),
    ),
    Check(
        "helper",
        "the privileged helper serves the agent's user",
        unless("it answers"),
        (CONFIGURATION,),
        joined=True,
    ),
    Check("agent", "the agent runs, and answers at its socket", machine.agent, (CONFIGURATION,), joined=True),
    Check("versions", "what runs is what is installed and configured", machine.versions, ("agent",), joined=True),
    Check(
        "limits",
        "connection tracking, descriptors and memory are not used up",
        machine.limits,
        ("agent",),
        joined=True,
    ),
)

HOST: Final[tuple[Check, ...]] = (
    *_HOST,
    Check(
        "ready",
        "Ready is published, and the agent names no other problem",
        machine.ready,
        tuple(check.name for check in _HOST),
        joined=True,
    ),
)
