"""`presenced serve --nodes N`: several daemons on one machine that are one server. Nothing of presence is in here.

Each node is a process that runs `presenced serve` with options of its own. The supervisor starts and ends them, and
stands for all of them before systemd and a terminal: it is one daemon to whoever starts it. Nothing in here is imported
where `cluster.nodes` is 1.
"""
