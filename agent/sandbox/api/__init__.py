"""An API server in memory: the part of Kubernetes that a host uses."""
