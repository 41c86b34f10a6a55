"""Facts on disk: a log of commit batches, snapshots, and the way back from them. Synchronous; knows no event loop.

Every call that opens, writes, syncs, renames or removes goes through `files`, so that the tests can put a simulated
disk in its place and crash it at any of them.
"""
