"""Serves links of this node whose users another node decides, and acts here for such links of other nodes. Pure.

Nothing in here knows the log: what it asks of it is in `cluster.ports`.
"""
