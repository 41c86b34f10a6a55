"""The bench: the daemon's cost per delivery, per heartbeat and per idle device, beside a bare C loop's.

`python -m bench --help` lists the profiles. It speaks the wire with raw sockets, so that what it measures is
the daemon and not the client library, and it never imports the server or the core. Every delivery is counted
and its content checked: a figure from a run that lost one is never printed as a success.
"""
