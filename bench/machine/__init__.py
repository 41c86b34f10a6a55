"""The machine under measurement, without any protocol.

`cores` and `disk` are what a run takes of it, `facts` says what it is. `process` starts and ends a server, as `server`
(one process that tells its port) or `tree` (several); `meter` is what one used, by the account of the `kernel`.
`subprocesses` runs a part of the bench in a process of its own.
"""
