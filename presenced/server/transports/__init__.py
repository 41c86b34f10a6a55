"""What carries the bytes of a conversation: the port that it speaks to (`base`), and plain TCP (`tcp`), TLS (`tls`) and
WebSockets (`websocket`)."""
