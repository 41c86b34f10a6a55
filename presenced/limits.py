"""Every bound of the protocol and of the server, in one place, each with its unit in its name.

A bound that a client can run into is announced to it in the welcome or stands in protocol.md; going over one
is always a defined answer (an error code), never an accident. Relations between bounds are asserted below.

The file is long because it is one list.
"""

# --- names and text -------------------------------------------------------------------------------------------
NAME_BYTES_MAX = 128
"""A user or device name in UTF-8. Long enough for an e-mail address or a UUID with a prefix."""

LABEL_BYTES_MAX = 64
"""A device's display name, its kind, and a client's self-description."""

META_BYTES_MAX = 512
"""What an application keeps with a device, in UTF-8: a push token takes up to 200 bytes, and is not alone."""

TEXT_BYTES_MAX = 512
"""The custom status line in UTF-8: about what one line on a screen holds, in any script."""

EMOJI_BYTES_MAX = 64
"""One emoji with joiners and skin tones takes up to 35 bytes; short names such as `:palm_tree:` fit as well."""

TOKEN_BYTES_MAX = 4096
"""A signed token; larger ones are refused before any cryptography is done on them."""

PATTERNS_MAX = 64
"""Patterns of names in one list of a token's claim `presence`. Each test of a name goes through all of them."""

ROUTED_DEVICES_MAX = 1_024
"""Devices in one answer about where notifications go. With the longest meta these fill most of a frame; 256 users have
so many if each has four that can be notified."""

# --- what an application says of its users ---------------------------------------------------------------------
CLAIMS_PER_USER_MAX = 16
"""Claims of one user at a time, besides the manual one and that of a schedule."""

WINDOWS_MAX = 28
"""Weekly windows of one schedule: four a day."""

ZONE_BYTES_MAX = 64
"""The name of a time zone in the IANA database; the longest has 32."""

CHANNELS_PER_DEVICE_MAX = 200
"""Channels that a link of role `user` may have its device in, and may watch. Each change of a user costs their
channels one step each, and a link that reads again is told of each that it missed something in."""

SERVICE_CHANNELS_PER_DEVICE_MAX = 10_000
"""Channels that one device is in if a link of role `service` or `admin` joins it: it speaks for an application."""

MEMBERSHIPS_PER_USER_MAX = 20_000
"""Memberships of all devices of a user together. With the longest names a snapshot then has 8 MiB of them, and a
change of their record takes some milliseconds."""

SERVICE_WATCH_CHANNELS_MAX = 1_000_000
"""Channels that one link of a service watches. A link of a user: as many as it may have its device in."""

CONTACTS_MAX = 10_000
"""Contacts of one user. A person has some hundreds; a page of a list is short whatever its length."""

CONTACTS_PER_REQUEST_MAX = 1_024
"""Contacts in one part of a list that a service sets; with the longest names a part has fewer, to fit a frame."""

UNFINISHED_CONTACTS_MAX = 100_000
"""Contacts of all lists that one link has begun to set and not completed."""

CONTACT_REQUESTS_MAX = 1_000
"""Requests to see one user that wait for an answer; the oldest gives way."""

CONTACT_CHANGES_KEPT = 256
"""Changes of one list of contacts that a client may have missed and is still told alone."""

CONTACT_GROUPS_MAX = 8
"""Groups of one contact, each of the length of a label."""

NOTE_BYTES_MAX = 256
"""The line that goes with the request to see somebody."""

BLOCKED_MAX = 1_000
"""Users whom one user blocks, and as many whom one hides from."""

SHOWN_TO_MAX = 256
"""Users to whom one device is shown."""

AUDIENCE_NAMES_MAX = 1_000
"""Users whom one user's audience names, in both lists together."""

ACTIVITIES_PER_USER_MAX = 100
"""Activities kept of one user; the oldest make room."""

ACTIVITY_AGE_MS_MAX = 30 * 24 * 3600 * 1000
"""Activities older than this are not kept, and not accepted."""

ACTIVITY_AHEAD_MS_MAX = 60_000
"""How far ahead of the server's clock an application's time may be."""

PAYLOAD_BYTES_MAX = 1024
"""What an application attaches to an activity."""

COMMAND_BYTES_MAX = 1024
COMMAND_LISTED_MAX = 20
"""Users or activities that the answer to a chat command names; its sentence says how many there are."""

BEATS_MAX = 4_096
"""Devices in one heartbeat frame of a service."""
TOLD_REFS_MAX = 4_096
"""Refs of one link that its heartbeats name although it does not hold them. The server keeps for each of these refs
that the link was told so."""

EVENTS_KEEP = 1_000_000
"""Events that are kept, at least, for services that may have missed them and for questions about what was."""

EVENTS_KEEP_FOR_MS = 24 * 3600 * 1000
"""For so long, if that is fewer."""

EVENT_BYTES = 64
"""Bytes that an event may take on average, compressed: with the longest texts fewer events are kept. Those of a status
take 25."""

EVENTS_SHORT_BYTES_MAX = 1_048_576
"""The same of all while memory is short. What was not sent yet to a follower that reads fits into it."""

EVENT_STREAMS_MAX = 64
"""Sets of users whose events have numbers of their own for services that see no others. Beyond it the oldest of those
that nobody follows is given up."""

HISTORY_EVENTS_MAX = 64
"""Events on one page of a user's history. In the worst case each is in a chunk of its own: 7 ms."""

FOLLOWERS_MAX = 1_000
FOLLOWERS_PER_USER_MAX = 100
"""Followers with a name whose positions are kept: in all, and of the links of one user."""

FOLLOWER_SAVE_MS = 1_000
"""The least time between two facts about the position of one follower."""

CHANNEL_FULL_MAX = 1_000
"""Watchers of a channel up to which each of them is told each change; above, counts and batches at an interval."""

CHANNEL_INTERVAL_MS = 1_000
CHANNEL_BATCH_MAX = 256
"""Changed members in one batch; who else changed is in the counts and in the members' list."""

# --- frames ---------------------------------------------------------------------------------------------------
HELLO_BYTES_MAX = 8192
"""Frame cap before authentication: a token of the largest size and the names fit, nothing much larger does."""

FRAME_BYTES_MAX = 65_536
"""Frame cap from a client after authentication. Two hundred and fifty-six longest names fit."""

SERVER_FRAME_BYTES_MAX = 1_048_576
"""Frame cap from the server. What each of its messages can have at most is added up in tests/wire/largest.py."""

MESSAGE_CHARS_MAX = 500
"""Of the sentence in an error or a goodbye. None that the server makes comes near it, whatever it quotes."""

QUOTED_CHARS_MAX = 40
"""Of something unchecked that a sentence repeats: enough to recognise it by."""

USERS_PER_REQUEST_MAX = 256
"""Names in one get, watch or unwatch, and records in one page of who."""

WATCH_USERS_MAX = 1_000
"""Users that one user link may watch (XMPP servers cap a roster at about the same size)."""

SERVICE_WATCH_USERS_MAX = 1_000_000
"""Users that one service link may watch: it speaks for an application."""

AWAITS_PER_LINK_MAX = 256
"""Awaits that one link of a user has under way."""

SERVICE_AWAITS_PER_LINK_MAX = 100_000
"""The same for a link of a service: about 70 MB if each is about another user."""

AWAIT_MS_MAX = 7 * 24 * 3600 * 1000
"""The longest that one await may take, and the longest holding time: a week."""

AWAIT_KINDS_MAX = 16
"""Kinds of devices that one await names: as many as a user has devices."""

DEVICES_PER_USER_MAX = 16
"""Devices the server remembers for a user, and as many again of negative priority. A new one beyond it displaces the
longest gone; if all are live the newcomer is refused."""

REQUEST_ID_MAX = 2**32 - 1
DURATION_MS_MAX = 366 * 24 * 3600 * 1000
"""The longest expiry of a status or a text: a year and a day; without expiry is a duration of 0."""

IDLE_MS_MAX = 2**40
"""Idle times are levels; beyond this (about 35 years) they are nonsense and refused."""

RESUME_CHARS_MAX = 64
"""What a hello may say as `resume`; the server's tokens have 22 characters."""

VERSIONS_MAX = 8
"""Protocol versions that one hello may offer."""

# --- a link ---------------------------------------------------------------------------------------------------
HELLO_TIMEOUT_MS = 10_000
"""From accept to hello. A link that has not said who it is by then is closed."""

HELLO_PATIENCE_MS = 1_000
"""From then on a link without hello loses its place if there is no other for a newcomer: silent connections cost
nothing to make, and must not keep everybody else out."""

TLS_HANDSHAKE_S = 5.0
"""asyncio's own default is 60 s, during which a silent client holds a descriptor unseen."""

FRAME_TIMEOUT_MS = 10_000
"""From the first byte of a frame to its last: stops clients that trickle."""

CLOSE_TIMEOUT_MS = 2_000
"""From goodbye to abort: a client that does not read never lets `close()` finish."""

FRAMES_PER_WAKE_MAX = 64
"""Frames of one link handled in one go; what is left waits for the next turn, so that one link with thousands
of tiny frames cannot hold up the rest."""

SHARE_MS = 3
"""For so long the links of one user are served in one turn, and one frame beyond it: so that frames that take long
cannot hold up the rest either."""

BACKLOG_SHARE_MS = 10
"""For so long links that had more than that are served in one turn, all of them together, one after the other."""

RATE_UNITS_PER_S = 50
RATE_BURST_UNITS = 200
"""Plain frames of all links of a user; others cost more (`core.requests.costs`). A link of a user who is over the rate
is not read for a moment (back-pressure), never closed for it."""

SERVICE_RATE_UNITS_PER_S = 20_000
SERVICE_RATE_BURST_UNITS = 40_000

STRANGERS_MAX = 1_000
"""Answers about users whom one user may not see, or who were never seen, before asking about them costs more: what an
app asks in a day that knows its contacts from elsewhere."""

STRANGER_REFILL_MS = 10_000
"""The time in which one of these is earned again: 8,640 a day, so that a population of millions takes years."""

STRANGER_UNITS = 10
"""Units of work of each answer beyond that: 5 a second instead of 1,600, and a minute for an app that asks about 300
too many."""

CURIOUS_USERS_MAX = 10_000
"""Users whose spent budgets are remembered, in about 2 MB; the one who has not asked for the longest time gives way."""

THROTTLE_MS = 100
"""How long the links of a user who is over the rate are not read."""

OUTBOX_BYTES_MAX = 262_144
"""Replies waiting for a client that asks but does not read. Beyond it the link is not read until it drains.
Presence is not counted: it is kept latest-wins, bounded by the watch."""

HTTP_CONNECTIONS_MAX = 1_000
"""HTTP connections at a time, by default."""

HTTP_LEASE_MS = 90_000
"""How long a device that is attached over HTTP is live, unless another time is said: three beats of half a minute."""

HTTP_LINKS_MAX = 1_000
"""Links on which requests over HTTP run: one for each token in use. The one that was used longest ago gives way."""

HTTP_LINK_IDLE_MS = 120_000
"""How long such a link is kept after its last request. A device that it holds goes into grace then, until its lease
ends."""

HTTP_WAIT_MS_MAX = 2_000
"""A request over HTTP whose user has no credit left waits for as long as this, and is refused rather than wait
longer."""

HTTP_WAITING_MAX = 32
"""And so many requests with one token wait for credit at a time: each keeps a connection, and perhaps a long body."""

HTTP_AWAITS_MAX = 64
"""Awaits with one token that are under way over HTTP: each keeps a connection."""

HTTP_REPLY_MS_MAX = 30_000
"""How long a request over HTTP waits for its reply, such as for a disk that stands still."""

HTTP_STREAMS_PER_USER_MAX = 16
HTTP_STREAMS_MAX = 256
"""Streams of events over HTTP at a time, of one user and of all."""

HTTP_KEEP_ALIVE_MS = 15_000
"""How often a stream of events says that it is there: proxies cut what is silent for a minute."""

HTTP_AWAIT_MS = 30_000
HTTP_AWAIT_MS_MAX = 300_000
"""How long an await over HTTP takes at most, by default and if more is wanted: proxies give up on longer answers."""

SLEEP_AFTER_MS = 600_000
"""Who has been offline for so long, and whom nobody looks at, is kept as a few bytes."""

SEND_BUFFER_BYTES = 65_536
"""SO_SNDBUF of each link. A watcher that stops reading costs the kernel this much (doubled by Linux) and no
more; the default would let it grow to megabytes of outdated presence."""

DESCRIPTORS_RESERVED = 160
"""File descriptors kept back from links: 48 for HTTP (those that are closing, too), 32 for newcomers of a pass, 32 for
refusals under TLS, 16 for the admin socket, 8 that only the log may have, and 24 for files, listeners and the loop."""

# --- time -----------------------------------------------------------------------------------------------------
HEARTBEAT_MS = 30_000
GRACE_MS = 15_000
AWAY_AFTER_MS = 300_000
OFFLINE_AFTER_MS = 3_600_000
CHANGE_SPACING_MS = 200
CHANGE_BURST = 10
CHANGE_DELIVERIES = 4_000
"""What one change of the burst pays for: telling so many. Who is told to more has to wait longer for the next, so that
one user causes 20,000 deliveries a second at most: a seventh of a core if each is a write of its own."""

CHANGE_WAIT_MS_MAX = 5_000
"""But nobody waits longer than this, however many are told."""

PRIMARY_HYSTERESIS_MS = 30_000
"""Another device becomes primary once its last input is this much later than the primary's."""

RESTART_GRACE_MS = 30_000
"""Grace of the devices that were live when the daemon stopped: clients come back within their longest backoff."""

RESTART_SPREAD_MS = 10_000
"""Over this much longer their graces end one after the other, so that those who stay away do not all go at once."""

VERSION_GAP = 2**32
"""Added to the version counter after an unclean stop, with the time since the start before it: versions that were told
and not saved may not come again. 50 days, in milliseconds: by so much may the wall clock have been set back."""

READ_ONLY_RETRY_MS = 1_000

PARKED_MAX = 1_000_000
"""Users, channels and devices of all lost links together that are kept for their return, in 70 to 200 MB by the length
of the names; the link that was lost first gives way. Each link counts as `PARKED_LINK_ENTRIES` besides."""

PARKED_LINK_ENTRIES = 8

# --- memory ---------------------------------------------------------------------------------------------------
MEMORY_AUTO_PERCENT = 70
"""The budget, of the tightest limit of the control groups. The rest is for what the kernel counts against the same
limit and for what grows between two looks."""

MEMORY_ENDING_PERCENT = 115
"""Of the budget: from here on links are ended, and what has long answers is refused."""

MEMORY_RELIEF_PERCENT = 5
"""So much of the budget below where it was entered a level is left."""

MEMORY_PATIENCE_MS = 5_000
"""Over the budget for so long, links are ended too: nobody may keep all others out by not reading."""

MEMORY_GLANCE_MS = 20
"""How far apart looks at the memory in use are while there is work."""

KICK_RETRY_MS = 5_000
"""How long a client that was kicked is told to stay away, unless the operator says another time."""

REVOCATION_AHEAD_MS_MAX = 60_000
"""How far ahead of the server's clock tokens may be revoked: as far as the clock of who makes them may be."""

REVOCATION_KEPT_MS = 31_622_400_000
"""How long a revocation is kept after its moment: 366 days. No token should live longer."""

MEMORY_RETRY_MS = 2_000
"""How long a client waits after a refusal because of short memory; refused links wait up to four times as long."""

REPLY_BYTES_PER_TURN = 8_388_608
"""Replies made from one turn to the next. What is asked beyond it waits, so that what thousands of links ask for at
once is neither in memory at once nor made before anybody can look how much of that there is."""

# --- the disk, and stops --------------------------------------------------------------------------------------
SNAPSHOT_LOG_BYTES = 64 << 20
SNAPSHOT_EVERY_MS = 900_000
"""When snapshots are taken, unless the operator chooses otherwise: after this much log, or this long after the last."""

DRAIN_SPREAD_MS = 5_000
DRAIN_TIMEOUT_MS = 20_000
"""Over how long the links are closed when the daemon stops, and how long stopping may take altogether."""

STALL_MS = 1_000
"""A tick that comes this late means that the process stood still: clients' heartbeats may lie unread in the
socket buffers, so they are read before anything expires."""

# --- a cluster ------------------------------------------------------------------------------------------------
CLUSTER_LEASE_MS = 10_000
"""A node that has not been heard of for so long is taken for dead, unless the operator chooses otherwise."""

CLUSTER_LEASE_MS_MIN = 7_000
"""No lease is shorter: it is renewed each fifth of it, one renewal may be lost and one late, and the clock of the
engine may leap by two seconds."""

CLUSTER_LINGER_MS = 2
"""For how long changes are gathered under load before they are sent to the engine."""

assert (
    TOKEN_BYTES_MAX + 2 * NAME_BYTES_MAX + 3 * LABEL_BYTES_MAX + 4 * RESUME_CHARS_MAX
    < HELLO_BYTES_MAX
    <= FRAME_BYTES_MAX
)
assert MEMORY_ENDING_PERCENT - MEMORY_RELIEF_PERCENT > 100
assert SERVICE_CHANNELS_PER_DEVICE_MAX <= MEMBERSHIPS_PER_USER_MAX
assert CHANNELS_PER_DEVICE_MAX * DEVICES_PER_USER_MAX <= MEMBERSHIPS_PER_USER_MAX
assert USERS_PER_REQUEST_MAX * (NAME_BYTES_MAX + 3) < FRAME_BYTES_MAX
