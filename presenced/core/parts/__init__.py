"""The parts of the presence state: each owns one kind of state per user or per session, and every rule about it.

No part is handed the engine: each takes the owners that it needs (`core.ledger`, `core.clock`, `core.publisher` and
other parts). `core.part` says what the engine asks of all of them.
"""
