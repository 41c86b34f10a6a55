"""Facts on disk: a log of commit batches, snapshots, and the way back from them. The package is synchronous and knows
no event loop.

Every call that opens, writes, syncs, renames or removes a file goes through `files`, so that the tests can put a
simulated disk in its place and crash it at any of these calls.

Why not SQLite? The server keeps its whole state in memory, so that a store has two jobs: to make each turn's facts
durable before their acknowledgements leave, and to hand all of them back at a start. It never answers a query. An
append-only log does the first job in one sequential write and one sync. SQLite looks up a page for each fact, changes
it, and writes it twice: into its WAL, and at a checkpoint into the database. `python -m bench store` measures both with
the same promise (WAL, `synchronous=FULL`, one upsert for each fact, group commit on one thread), with 100,000 users on
a virtual disk (ext4), 2 shared cores, Python 3.11, SQLite 3.40; medians of five rounds:

                                           this package    SQLite
    CPU for each fact, 200 writers               2.9 us     11 us
    facts per second, 200 writers                69,000    29,000
    wait of an acknowledged change, p50          6.2 ms     19 ms
    the same, p99                                 22 ms     60 ms
    size on disk after the run                   29 MiB    30 MiB   (18 MiB as a snapshot)
    reading everything at a start                 1.8 s     1.8 s   (1.1 s from a snapshot)

SQLite is not worse everywhere. With one writer (`--writers 1`) both wait for the disk: 4.7 ms here, 4.5 ms there, and
CPU differs by 7 %. A log grows until a snapshot replaces it, which costs CPU in the background; a database keeps its
size. SQLite would also be far less code, with tools that everybody knows. The log stays because the CPU of a fact
is taken from the core that serves links, because commits grow under load instead of becoming slower, and because its
crash states are explored by the tests, and a damaged log is told apart from one that was torn by a crash.
"""
