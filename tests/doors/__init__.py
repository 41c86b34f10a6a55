"""Hostile and careless peers at the doors of the HTTP address: WebSocket and what is behind `/v1/`."""
