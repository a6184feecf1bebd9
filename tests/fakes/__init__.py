"""Stand-ins that are products: each obeys the interface of what it stands for."""
