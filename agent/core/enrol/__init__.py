"""How a host is enrolled: objects in the cluster, SPIRE's entries, and the bundle with which it joins."""

from typing import Final

# What the host loads of it. The annotation that asks it to leave:
RETIRE: Final = "fairlead.dev/retire"
DRAINED: Final = "fairlead.dev/drained"  # in the Lease of a host that retires: whether no request is in flight
