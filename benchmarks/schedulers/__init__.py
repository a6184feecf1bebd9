"""Schedulers beside each other: the same task, two workers each, a driver process each."""
