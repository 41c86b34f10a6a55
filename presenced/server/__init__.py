"""The edge: links, the turn, the listener, identity. Knows sockets and clocks; knows no rule of presence."""
