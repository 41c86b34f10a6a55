"""Adapters: programs by which the runner drives a client, and examples for one of a client in another language."""
