"""A chat bot for presence. It knows no commands itself: it sends what people type to the server, and prints the reply.

    echo 'alice: /presence away for 30m' | python -m presenced.examples.bot --url presence://bot@127.0.0.1:5250

Reads lines `USER: TEXT` and prints `USER: REPLY` for each, in order.
"""

from __future__ import annotations

import argparse
import os
import sys

import presenced


def main() -> None:
    parser = argparse.ArgumentParser(description="Answers the presence commands that people type.")
    parser.add_argument("--url", default="presence://bot@127.0.0.1:5250", help="the URL of the presence server")
    parser.add_argument("--token", help="a token with the role service")
    options = parser.parse_args()
    try:
        with presenced.sync.connect_service(options.url, token=options.token) as p:
            for line in sys.stdin:
                user, _, text = line.strip().partition(":")
                try:
                    reply = p.command(user, text).text
                except presenced.PresenceError as error:
                    reply = error.message
                print(f"{user}: {reply}", flush=True)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # A reader that has read enough, as `| head` does. Python would fail with the rest at the exit once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except presenced.PresenceError as error:
        sys.exit(f"bot: {error.message}")


if __name__ == "__main__":
    main()
