"""Vectors of the protocol, for whoever writes a client or a server of it: `python -m presenced.conformance --help`.

The files in `vectors/` are JSON. They are made from protocol.md; chapter 27 of it says how to read them.
"""
