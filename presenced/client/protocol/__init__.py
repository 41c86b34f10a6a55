"""What a client knows over all its links, without a socket, a loop or a clock: time comes in as an argument.

`session` owns the requests that wait for replies, and the users that are watched. Whatever else has to be put in place
again on each new link is a `Part` of it: `channels`, `event_feed`, `watch_all`, and a service's `attachments`. The rest
are their parts and values: `pending`, `changes`, `heartbeat`, `backoff`, `send_window`.
"""
