"""What makes load on the daemon, and judges what comes of it.

`daemon` and `limit` start what is measured; `links` and `framing` speak to it. `agenda` says what is due when and
`openloop` does it on time; `witness` knows every change and what each watcher was told of it. `contacts` is who watches
whom; `people`, `hearing`, `crowd` and `mix` are the life of many; `writers` wait for each write. `filled` is a data
directory with many users in it, which `filling` makes in a process of its own.
"""
