"""What a node makes of the common log, and what it says there: who lives, who is whose home, and what is known. Pure.

Nothing in here knows a link of another node: what acts for those is told of entries by `cluster.ports.Forwarder`.
"""
