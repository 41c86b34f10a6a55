"""All presence state and every rule about it. Pure and deterministic: no clock, sockets, files, randomness or logs.

Time comes in as `now_ms` (monotonic milliseconds). Inputs are method calls; outputs lie ready for the edge to take
at the end of the turn: facts for the log, replies, links to close, sessions with bytes to send. Whatever is
iterated is a dict or a list, never a set, so that two runs with the same inputs are equal to the byte.
"""
