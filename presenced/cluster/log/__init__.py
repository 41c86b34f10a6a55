"""One node's side of the common log: it applies the entries that it reads, and makes the batches that it appends. Pure.

Nothing in here knows a link of another node. What serves such links is behind `cluster.ports.Forwarder`.
"""
