"""Authorities and the SPIFFE Workload API of the sandbox."""
