"""The agent: runs jobs on the devices of one host, for one wallet."""
