"""How a host is enrolled: objects in the cluster, SPIRE's entries, and the bundle with which it joins."""
