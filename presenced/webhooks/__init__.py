"""Events of the server, posted to a URL: in order per user, signed, at least once (protocol.md, section 26).

`lanes` decides what leaves when, and knows no clock or socket; `payloads` and `signatures` make what leaves;
`http_client`, `resolver` and `networks` carry it; `sender` keeps the tries going. `follower` has the events from the
server by a link inside the process, and `service` puts all of it together. Nothing is imported from here unless
webhooks are configured.
"""
