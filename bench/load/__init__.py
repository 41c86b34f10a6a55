"""What makes load on the daemon and judges what comes of it: links, the open loop, the witness, crowds."""
