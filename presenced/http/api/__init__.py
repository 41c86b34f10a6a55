"""HTTP for backends in any language (protocol.md, section 25): each request of the protocol as `POST /v1/NAME` with
named fields, and events as a stream.

What a request looks like is made from the messages themselves (`object_forms`, `requests`), and so is its description
(`openapi`). `door` reads a call, `pool` keeps the links on which requests run, and `followers` streams events.
"""
