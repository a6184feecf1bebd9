"""coordinator/workloads."""
