"""What `hypernode doctor` looks at: each check answers in words, and with what to do.

Read in this order: `finding` (an answer), `host` (this machine), `gpu`, `sandbox`, `keys` (files
that must be private), `wire` (the coordinator), `examination` (which role needs which).
"""
