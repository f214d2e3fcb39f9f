"""What is in answers of the SPIFFE Workload API."""
