"""The sandbox for its user: namespaces, cluster, host, and the tour through them."""
