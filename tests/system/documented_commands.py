"""Where each command of the documents is run: on the booted machine, in this order, or elsewhere, and why."""

from __future__ import annotations

from tests.lab.document_commands import Command

# Pages whose own test runs each of their commands.
SELF_TESTED = {"docs/getting-started.md": "tests/system/test_getting_started.py"}

# By page, in order; the exit code of each. 3: the host is not Ready, for there is no mesh.
RUN: dict[str, dict[str, int]] = {
    "README.md": {
        "sudo dpkg -i fairlead_*_amd64.deb        # or: sudo rpm -i fairlead-*.x86_64.rpm": 0,
        "fairlead check-config    # name every problem of the configuration": 0,
        "fairlead plan            # show the exact rules of the redirect; changes nothing": 0,
        "fairlead status          # what this host is to the mesh, why, and the remedy for each problem": 3,
    },
    "docs/proxy.md": {
        "fairlead proxy install linkerd2-proxy-v2.366.0-linux-amd64.tar.gz"
        " --checksums linkerd2-proxy-v2.366.0-linux-amd64.tar.gz.txt": 0,
        "fairlead proxy install ./image --sha256 MANIFEST-DIGEST"
        "     # an OCI image layout: skopeo copy docker://… oci:image": 0,
        "fairlead proxy list": 0,
    },
    "docs/redirect.md": {
        "fairlead plan                          # what would be set, what differs from now; touches nothing": 0,
        "fairlead redirect apply --confirm 60s  # set it for 60 seconds": 0,
        "fairlead redirect confirm              # keep it (or: fairlead redirect revert)": 0,
        "fairlead redirect show   # live rules, with packet counters": 0,
        "fairlead redirect trace --in tcp 192.0.2.10:8080 --from 198.51.100.7": 0,
        "fairlead redirect trace --out tcp 10.42.0.7:80 --uid 1000   # which rule decides, and why": 0,
    },
    "docs/support.md": {
        "sudo fairlead support --yes -o /root/support.tar.gz  # write without a question": 0,
    },
    "docs/security.md": {
        "fairlead status                    # API credential      spiffe, audience kubernetes, 2 min left": 3,
        "fairlead status --json | jq .credential": 0,
        "find /etc/fairlead /var/lib/fairlead /run/fairlead -type f      # no token, no key": 0,
    },
}

_MEMBER, _REPLACED = "tests/system/test_member.py", "tests/contract/test_proxy_unit_agent.py"
_ENROLLED, _JOINED = "tests/cluster/operator.py", "tests/cluster/test_join.py"
_CHECKED = "tests/cluster/test_check.py"
_GROUPED, _IMPORTED = "tests/cluster/test_group.py", "tests/cluster/test_import.py"
_RETIRED, _SHOWN = "tests/cluster/test_retire.py", "tests/cluster/test_manifest.py"
_PROVED = "tests/contract/test_proxy_unit_proof.py"
# By the first words of a command.
ELSEWHERE = {
    "make ": "in a source tree",
    "kubectl ": "needs a cluster, where an administrator is",
    "ssh THIS-HOST ": "on another host",
    "step certificate ": "needs Linkerd's issuer, where an administrator is",
    "spire-server ": "on SPIRE's server",
    "for user in fairlead ": "on SPIRE's server, as an administrator",
    "for unit in fairlead.service ": "on SPIRE's server, by unit",
    "sudo -u fairlead-proxy fairlead identity-gate ": "needs SPIRE: tests/offline/test_identity_gate.py does it",
    "sudo fairlead support                  ": "asks on a terminal: tests/offline/test_support.py does it",
    "fairlead check ": f"needs a cluster: {_CHECKED} does it",
    "fairlead undrain ": f"needs a mesh: {_MEMBER} does it",
    "fairlead drain ": f"needs a mesh: {_MEMBER} does it",
    "fairlead leave ": f"needs a mesh: {_MEMBER} does it",
    "fairlead enrol ": f"needs a cluster: {_ENROLLED} does it",
    "fairlead group ": f"needs a cluster: {_GROUPED} does it",
    "fairlead import ": f"needs a guide's manifest: {_IMPORTED} does it",
    "fairlead manifest ": f"needs a cluster to be of use: {_SHOWN} does it",
    "fairlead retire ": f"needs a cluster: {_RETIRED} does it",
    "fairlead join ": f"needs a cluster: {_JOINED} does it",
    "fairlead proxy upgrade ": f"needs a mesh: {_REPLACED} does it",
    "fairlead proxy rollback ": f"needs a mesh: {_REPLACED} does it",
    "fairlead proxy restart ": f"needs a mesh: {_PROVED} does it",
}


def reason(command: Command) -> str:
    """Why it is not run on the machine; empty where it must be."""
    return next((why for words, why in ELSEWHERE.items() if command.text.startswith(words)), "")
