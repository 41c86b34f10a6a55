"""The servers of the comparative profiles, each behind the same small interface (`base.Peer`), and what all go through.

They do not all do the same work: what each one is made to do, and how it is set, is in `Peer.about`, and goes into the
notes of every outcome. `programs` is what programs of the system have in common, `xmpp` what ejabberd and Prosody have.

`lineup` starts those that a run wants and lets them take turns; `storm` logs users in, `steps` takes a server through
fan-out step by step, and `ledger` holds what was told against what was said.
"""
