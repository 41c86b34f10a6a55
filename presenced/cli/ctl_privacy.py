"""The commands of `presencectl` about who may see a user: blocks, hiding, and the audience of text, times and device.

Each command is about the URL's user, or with --as about any user.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import click

from presenced.cli import exits
from presenced.cli.context import Context, user_argument
from presenced.cli.options import Once
from presenced.cli.output import OutputRow
from presenced.wire.messages import AudienceLevel

if TYPE_CHECKING:
    from presenced.cli.target import Acting
    from presenced.client.values import Audience

TITLES = ("user", "how")
LEVELS = click.Choice(get_args(AudienceLevel))

contact_argument = click.argument("contact", metavar="USER")


@click.command()
@contact_argument
@click.pass_obj
def block(context: Context, contact: str) -> None:
    """Block a user: neither of you sees the other. The user is not told."""

    async def work() -> int:
        async with context.target.acting() as acting:
            await acting.privacy.block(acting.user, contact)
        context.output.note(f"{acting.name} and {contact} do not see each other")
        return exits.OK

    exits.run(work())


@click.command()
@contact_argument
@click.pass_obj
def unblock(context: Context, contact: str) -> None:
    """End a block; what held before it holds again. It is not an error if there is none."""

    async def work() -> int:
        async with context.target.acting() as acting:
            await acting.privacy.unblock(acting.user, contact)
        context.output.note(f"{acting.name} does not block {contact}")
        return exits.OK

    exits.run(work())


@click.command()
@user_argument
@click.pass_obj
def blocked(context: Context, user: str) -> None:
    """List whom a user has blocked, and from whom the user hides."""

    async def work() -> int:
        async with context.target.acting(user) as acting:
            found = await acting.privacy.get_blocked(acting.user)
        rows = [OutputRow({"user": name, "how": "blocked"}, (name, "blocked")) for name in found.blocked]
        rows += [OutputRow({"user": name, "how": "hidden"}, (name, "hidden")) for name in found.hidden]
        context.output.rows(rows, TITLES, nothing=f"{acting.name} blocks nobody, and hides from nobody")
        return exits.OK

    exits.run(work())


@click.command()
@contact_argument
@click.pass_obj
def hide(context: Context, contact: str) -> None:
    """Hide from a user, who sees you as offline; you see the user as before. The user is not told."""

    async def work() -> int:
        async with context.target.acting() as acting:
            await acting.privacy.hide_from(acting.user, contact)
        context.output.note(f"{contact} sees {acting.name} as offline; `presencectl show {contact}` ends it")
        return exits.OK

    exits.run(work())


@click.command()
@contact_argument
@click.pass_obj
def show(context: Context, contact: str) -> None:
    """Hide from a user no longer. It is not an error if you did not."""

    async def work() -> int:
        async with context.target.acting() as acting:
            await acting.privacy.show_again(acting.user, contact)
        context.output.note(f"{acting.name} does not hide from {contact}")
        return exits.OK

    exits.run(work())


@click.command()
@user_argument
@click.option("--text", cls=Once, type=LEVELS, help="To whom you show your text and emoji.")
@click.option("--last-seen", cls=Once, type=LEVELS, help="To whom you show since when, and when you were last seen.")
@click.option("--device", cls=Once, type=LEVELS, help="To whom you show which device you are at.")
@click.option("--always", multiple=True, metavar="USER", help="A user who is shown all of it; may be repeated.")
@click.option("--never", multiple=True, metavar="USER", help="A user who is shown none of it; may be repeated.")
@click.pass_obj
def audience(
    context: Context,
    user: str,
    text: AudienceLevel | None,
    last_seen: AudienceLevel | None,
    device: AudienceLevel | None,
    always: tuple[str, ...],
    never: tuple[str, ...],
) -> None:
    """Show to whom you show what, or set it: `audience --text contacts --last-seen nobody`.

    What is not given stays as it is. The users of --always take the place of those before, and the same holds for
    --never; --always "" names nobody. `contacts` are those whom you have approved.
    """
    levels = {"text": text, "last_seen": last_seen, "device": device}
    given: dict[str, Any] = {name: level for name, level in levels.items() if level is not None}
    given |= {name: [one for one in users if one] for name, users in (("always", always), ("never", never)) if users}

    async def work() -> int:
        async with context.target.acting(user) as acting:
            found = await acting.privacy.get_audience(acting.user)
            if given:
                await acting.privacy.set_audience(acting.user, **found._replace(**given)._asdict())
                found = await acting.privacy.get_audience(acting.user)
        _say(context, acting, found)
        return exits.OK

    exits.run(work())


def _say(context: Context, acting: Acting, found: Audience) -> None:
    sentence = f"{acting.name} shows text: {found.text}, last seen: {found.last_seen}, device: {found.device}"
    if found.always:
        sentence += f"; always all to {', '.join(found.always)}"
    if found.never:
        sentence += f"; never any to {', '.join(found.never)}"
    context.output.say(found._asdict(), sentence)


COMMANDS: tuple[click.Command, ...] = (block, unblock, blocked, hide, show, audience)
