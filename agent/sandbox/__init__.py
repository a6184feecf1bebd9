"""Jails for what strangers send, and the self-test that says how far they hold.

Read in this order: `level` (what a level means), `canaries` and `attacks` (how it is found), `host`
(the start of a jail), `bubblewrap`, `seccomp`, `limits`, `cgroup` (its walls), `jail` (its end),
`command` (the seed's kind of job); `confinement` and `child_filter` are the walls that a process in
a jail puts around itself. Each file opens with what it covers and what it does not.
"""
