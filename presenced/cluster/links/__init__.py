"""What a node does for links whose users another node decides, and for those of other nodes that act here. Pure.

Nothing in here knows the log: what it is asked for, and who is asked, is in `cluster.ports`.
"""
