"""HTTP for operators. `heads` reads requests and writes answers, `connection` bounds what a peer may do, `pages` is the
table of routes, and `listener` puts them together. `ops.operations` imports this package only where HTTP is on."""
