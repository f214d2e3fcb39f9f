"""Which hosts of a fleet are silent, and which of them the watcher takes out of load balancing."""
