"""agent/kernels."""
