"""What is said of the reasons that are about the control plane."""

from collections.abc import Mapping

from agent.core.reason import Entry, Reason, Severity

_OK, _WAIT, _WARN, _FAULT = Severity.OK, Severity.WAIT, Severity.WARN, Severity.FAULT


def control(causes: frozenset[Reason]) -> Mapping[Reason, Entry]:
    """`causes`: without a proxy nobody asks the control plane."""
    return {
        Reason.CONTROL_PLANE_REACHED: Entry(_OK, "the policy controller has answered this proxy"),
        Reason.CONTROL_PLANE_PENDING: Entry(
            _WAIT,
            "the policy controller has not answered this proxy yet, so outbound is not redirected",
            "if it stays so: fairlead proxy logs",
            causes,
        ),
        Reason.CONTROL_PLANE_UNRESOLVED: Entry(
            _FAULT,
            "the name of the policy controller has no address, so the mesh's policy is not in force here",
            "let this host's DNS answer for the cluster's names, or write control_plane.policy and .destination",
            causes,
        ),
        Reason.CONTROL_PLANE_UNREACHABLE: Entry(
            _FAULT,
            "the policy controller cannot be reached, so the mesh's policy is not in force here",
            "let this host reach the control plane's pods on TCP 8090 and 8086: routes, firewalls, policies",
            causes,
        ),
        Reason.CONTROL_PLANE_UNTRUSTED: Entry(
            _FAULT,
            "the policy controller's address answers with an identity that this host does not trust",
            "compare the trust anchors (fairlead anchors show), control_plane.trust_domain and .namespace",
            causes,
        ),
        Reason.CONTROL_PLANE_LOST: Entry(
            _WARN,
            "the policy controller no longer answers the proxy, which continues with the policy that it has",
            "let this host reach the control plane's pods on TCP 8090: routes, firewalls, network policies",
            causes,
        ),
        Reason.DESTINATION_UNREACHABLE: Entry(
            _WARN,
            "the destination controller cannot be reached, so what this host sends into the mesh may hang",
            "let this host reach the control plane's pods on TCP 8086, and resolve their name",
            causes,
        ),
    }
