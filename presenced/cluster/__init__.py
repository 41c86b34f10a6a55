"""Many nodes with one node's semantics: who decides which user, and what travels between nodes. No loop, no socket.

Every user has one home, the node that alone decides. What it decides goes to one ordered log, from which every other
node applies it to its copy (`core.copies`). Who joins, dies and inherits is read from the same log, so that all nodes
agree at the same position of it. The log itself is behind the port `backplane`.
"""
