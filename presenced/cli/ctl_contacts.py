"""The commands of `presencectl` about a user's contacts: who sees whom by consent, and the import of whole lists.

Each command is about the URL's user, or with --as about any user. After a change it prints the contact as it is then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from msgspec.structs import asdict

from presenced.cli import contact_import, exits
from presenced.cli.context import Context, DefaultGroup, user_argument
from presenced.cli.output import OutputRow
from presenced.wire.messages import ContactInfo

if TYPE_CHECKING:
    from presenced.cli.target import Acting

TITLES = ("contact", "name", "subscription", "waiting", "groups", "note")

contact_argument = click.argument("contact", metavar="USER")


@click.group(cls=DefaultGroup)
def contacts() -> None:
    """List your contacts, ask to see somebody, and answer those who ask to see you.

    A subscription is `to` if you see the contact, `from` if the contact sees you, `both`, or `none`. `contacts [USER]`
    is short for `contacts list [USER]`.
    """


@contacts.command("list")
@user_argument
@click.pass_obj
def list_contacts(context: Context, user: str) -> None:
    """List a user's contacts, and the requests that wait: `you asked`, `asks you`."""

    async def work() -> int:
        async with context.target.acting(user) as acting:
            page = await acting.contacts.get_contacts(acting.user)
        nothing = f"{acting.name} has no contacts; `presencectl contacts ask USER` asks somebody"
        context.output.rows([_row(info) for info in page.contacts], TITLES, nothing=nothing)
        return exits.OK

    exits.run(work())


@contacts.command("ask")
@contact_argument
@click.option("--note", default="", help="A line that says why.")
@click.pass_obj
def ask(context: Context, contact: str, note: str) -> None:
    """Ask to see a user from now on. You see nothing before the user approves it."""

    async def work() -> int:
        async with context.target.acting() as acting:
            await acting.contacts.subscribe(acting.user, contact, note)
            await _show(context, acting, contact)
        return exits.OK

    exits.run(work())


@contacts.command("approve")
@contact_argument
@click.pass_obj
def approve(context: Context, contact: str) -> None:
    """Let a user see you: now if the user has asked, else as soon as the user asks."""

    async def work() -> int:
        async with context.target.acting() as acting:
            await acting.contacts.approve(acting.user, contact)
            await _show(context, acting, contact)
        return exits.OK

    exits.run(work())


@contacts.command("cancel")
@contact_argument
@click.pass_obj
def cancel(context: Context, contact: str) -> None:
    """Do not let a user see you: refuse the request, end the subscription, or take the approval back."""

    async def work() -> int:
        async with context.target.acting() as acting:
            await acting.contacts.cancel(acting.user, contact)
            await _show(context, acting, contact)
        return exits.OK

    exits.run(work())


@contacts.command("stop")
@contact_argument
@click.pass_obj
def stop(context: Context, contact: str) -> None:
    """See a user no longer, or take back the request to."""

    async def work() -> int:
        async with context.target.acting() as acting:
            await acting.contacts.unsubscribe(acting.user, contact)
            await _show(context, acting, contact)
        return exits.OK

    exits.run(work())


@contacts.command("set")
@contact_argument
@click.option("--name", help="What you call the contact; an empty one is none.")
@click.option("--group", "groups", multiple=True, help="A group that the contact is in; may be repeated.")
@click.option("--no-groups", is_flag=True, help="The contact is in no group.")
@click.pass_obj
def set_contact(context: Context, contact: str, name: str | None, groups: tuple[str, ...], no_groups: bool) -> None:
    """Put a user into your list, with a name and groups; what is not given stays as it is.

    The groups that are given take the place of all that the contact was in.
    """
    if groups and no_groups:
        raise click.UsageError("--group and --no-groups cannot be used together; leave one out")

    async def work() -> int:
        listed = groups if groups or no_groups else None
        async with context.target.acting() as acting:
            await acting.contacts.set_contact(acting.user, contact, name=name, groups=listed)
            await _show(context, acting, contact)
        return exits.OK

    exits.run(work())


@contacts.command("remove")
@contact_argument
@click.pass_obj
def remove(context: Context, contact: str) -> None:
    """Take a user off your list. Neither sees the other any longer, and requests between the two end."""

    async def work() -> int:
        async with context.target.acting() as acting:
            await acting.contacts.remove_contact(acting.user, contact)
            await _show(context, acting, contact)
        return exits.OK

    exits.run(work())


async def _show(context: Context, acting: Acting, contact: str) -> None:
    page = await acting.contacts.get_contacts(acting.user)
    rows = [_row(info) for info in page.contacts if info.contact == contact]
    context.output.rows(rows, TITLES, nothing=f"{contact} is not in the list of {acting.name}")


def _row(info: ContactInfo) -> OutputRow:
    waiting = {"you asked": info.asked, "asks you": info.asks, "approved": info.approved}
    told = ", ".join(words for words, is_so in waiting.items() if is_so)
    cells = (info.contact, info.name, info.subscription, told, ", ".join(info.groups), info.note)
    return OutputRow(asdict(info), cells)


contacts.add_command(contact_import.import_contacts)

COMMANDS: tuple[click.Command, ...] = (contacts,)
