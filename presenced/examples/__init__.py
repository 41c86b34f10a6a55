"""Programs that use the public `presenced` and nothing else of it; each runs as `python -m presenced.examples.NAME`."""
