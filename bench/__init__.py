"""The bench: what the daemon costs beside a bare C loop, and what its data directory costs beside Redis.

`python -m bench --help` lists the profiles. It speaks the wire with raw sockets, so that what it measures is
the daemon and not the client library, and it never imports the server or the core; only `filled`, which makes data
directories in a process of its own, does. Every delivery and every acknowledged write is counted and its content
checked: a figure from a run that lost one is never printed as a success.
"""
