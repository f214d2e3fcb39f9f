"""The sandbox as a person sees it: namespaces, cluster, host, and the tour through them."""
