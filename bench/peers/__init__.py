"""The servers beside ours in the comparative profiles, each behind the same small interface (`base.Peer`).

`bench.peers.lineup` starts those that a run wants. They do not all do the same work: what each one is made
to do, and how it is set, is in `Peer.about`, and goes into the notes of every outcome.
"""
