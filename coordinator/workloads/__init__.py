"""What a job means, in NumPy: parameters, work, outputs, and the answer that a check recomputes."""
