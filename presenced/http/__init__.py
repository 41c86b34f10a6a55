"""HTTP: one listener for all that is asked over it. `heads` reads requests and writes answers, `connection` bounds what
a peer may do, and `listener` hands each request to the first of its doors that takes the path (`door`): the operator's
pages, the WebSocket, the programs' requests, the files of a browser. `ops.operations` imports this package only where
HTTP is on."""
