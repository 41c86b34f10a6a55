"""Makes one server of many nodes: who decides which user, and what travels between nodes. No loop, no socket.

Every user has one home, the node that alone decides the user. Its decisions go to one ordered log, from which every
other node applies them to its copy (`core.copies`). The log also says which nodes join and which are gone, so that all
nodes agree at each position of it. The log itself is behind the port `backplane`.
"""
