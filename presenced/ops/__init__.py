"""The operator's side of a server: systemd, the admin socket, metrics and health over HTTP, reloads, the log's form.

It looks at the server and asks things of it; the server knows nothing of it but an `Observer`.
"""
