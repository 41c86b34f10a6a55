"""The bench: what the daemon costs beside a bare C loop, and what its data directory costs beside Redis.

`python -m bench --help` lists the profiles. It speaks the wire with raw sockets, so that what it measures is
the daemon and not the client library. It never imports the server or the core, but for `load.filling`, which makes
data directories in a process of its own, and the profiles `core` and `channel`, which measure the engine without
sockets. Every delivery and every acknowledged write is counted and its content checked: a figure from a run that lost
one is never printed as a success.

Where what is; nothing imports what stands below it, and no profile another:

    errors, paths   the one error, and where things are
    results/        what a profile found, as values and in files; histogram; the names of units
    machine/        cores, disks, server processes and what they use; knows no protocol
    load/           what makes load on the daemon and judges what comes of it; the bare C loop
    peers/          servers to compare with, ours among them, behind one interface; what they are all put through
    profiles/       one module for each profile
    registry        what is known of a profile without importing it; `catalog` is the table of them
    report/         what was found, for people: tables, pages, pictures, comparisons, promises
    runner          from profiles to an exit code; `__main__` is the command line
"""
