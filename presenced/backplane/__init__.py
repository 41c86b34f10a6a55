"""The backplane of a cluster: one fenced, totally ordered log in Redis or Valkey, and its fake in memory.

`port.py` says what it does. This is the only part of the package that imports hiredis, and that only where an engine is
opened. The protocol of Redis is spoken by `wire.py` itself: through the connections of redis-py a command costs this
process three times as much, and each turn that changes anything makes one.
"""
