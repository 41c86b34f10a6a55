"""The command of `presencectl` that says why a user is shown as they are, and what comes next."""

from __future__ import annotations

import click

from presenced.cli import exits
from presenced.cli.context import Context, user_argument


@click.command()
@user_argument
@click.pass_obj
def explain(context: Context, user: str) -> None:
    """Say why a user is shown as they are: the rule that decides, what each claim and device has to say, and what comes
    next if nothing happens.

    About yourself, or with a service's URL and token about those whom it may see and act for:

    presencectl --url presence://backend@127.0.0.1:5250 explain bob
    """

    async def work() -> int:
        from presenced.cli.explanation_page import page, to_value, without_device

        async with context.target.acting(user) as acting:
            told = await acting.questions.explain(acting.user)
        if acting.own_device:
            told = without_device(told, acting.own_device)
        context.output.page(to_value(told), page(told))
        return exits.OK

    exits.run(work())


COMMANDS: tuple[click.Command, ...] = (explain,)
