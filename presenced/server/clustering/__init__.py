"""One server of several nodes: runs `cluster` on the event loop, over the backplane. Nothing in here is imported where
`cluster.url` is not set."""
