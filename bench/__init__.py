"""The bench measures what the daemon costs, beside a bare C loop and other servers, and its log beside SQLite.

`python -m bench --help` lists the profiles. The bench speaks the protocol over raw sockets, so that it measures the
daemon and not the client library. Five modules import the core or the storage all the same: `load.directory_maker` and
`load.sleepers` make data directories and start on them in processes of their own, the profiles `core` and `channel`
measure the engine without sockets, and `store` measures the log without a daemon. Every delivery and every acknowledged
write is counted, and its content is checked: a run that lost one is never printed as a success.

The rooms, from the ground up. A room imports nothing that stands below it in this list, and no profile imports another:

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
