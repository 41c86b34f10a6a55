"""What makes load on the daemon, and judges what comes of it.

`daemon` and `limit` start what is measured; `links` and `framing` speak to it. `agenda` says what is due when and
`openloop` does it on time; `witness` knows every change and what each watcher was told of it. `contacts` is who watches
whom; `people`, `crowd_checks`, `crowd` and `mix` are the life of many; `writers` wait for each write.
`data_directories` holds directories with many users, which `directory_maker` makes in a process of its own; `stores`
puts presenced's log and SQLite behind one interface.
"""
