"""What people type into a chat: `/presence away`, `/presence status "in a meeting" for 30m` (protocol.md, section 20).

A command becomes the same calls that requests make, and its reply has both a sentence to show and the data behind it,
so that a chat bot passes text through and needs no code of its own. The words stand in here; the core below knows
nothing of them.

`grammar` takes a line apart, `verbs` has a row for each command, `answers` and `contact_answers` put results into
sentences, and `handler` runs a command from the message to its reply.
"""

from presenced.chat_commands.handler import HANDLERS as HANDLERS
