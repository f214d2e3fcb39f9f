"""An API server in memory: as much of Kubernetes as a host meets."""
