"""The protocol in code: framing (`frames`) and every message (`messages`). Pure; knows no sockets."""
