"""The operator's side of a server: systemd, the admin socket, metrics and health over HTTP, reloads, the form of the
log.

It reads the server's status and calls its methods. The server knows of it only an `Observer`.
"""
