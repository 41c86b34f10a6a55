"""What can be done and asked about who may see a user (protocol.md, section 21.6); see `act_group`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from presenced.address import check_name
from presenced.client.act_group import ActGroup
from presenced.client.values import Audience, Blocked, check_names
from presenced.errors import AddressError
from presenced.limits import REQUEST_ID_MAX
from presenced.wire import messages
from presenced.wire.codec import encode
from presenced.wire.messages import AudienceLevel


class PrivacyActs(ActGroup):
    """See the module's docstring. All of these acts may be repeated: what holds already changes nothing."""

    async def block(self, user: str, contact: str) -> None:
        """Neither sees the other from now on: each appears to the other as somebody who is offline. Nobody is told,
        and subscriptions stay for when the block ends. Raises `RequestError` (`block_limit`, `bad_request` for
        oneself)."""
        check_name(contact, "contact")
        await self._exchange.do(lambda request_id: messages.Block(request_id, contact, user))

    async def unblock(self, user: str, contact: str) -> None:
        """The block is over, and what held before it holds again. One that is not there is no error."""
        check_name(contact, "contact")
        await self._exchange.do(lambda request_id: messages.Unblock(request_id, contact, user))

    async def get_blocked(self, user: str) -> Blocked:
        """Whom the user has blocked, and from whom the user hides."""
        reply = await self._exchange.request(
            lambda request_id: messages.GetBlocked(request_id, user), messages.BlockList
        )
        return Blocked(reply.blocked, reply.hidden)

    async def hide_from(self, user: str, contact: str) -> None:
        """The contact sees the user as offline; the user sees the contact as before. Raises `RequestError`
        (`block_limit`, `bad_request` for oneself)."""
        check_name(contact, "contact")
        await self._exchange.do(lambda request_id: messages.HideFrom(request_id, contact, user))

    async def show_again(self, user: str, contact: str) -> None:
        """The user hides from the contact no longer. That this was not so is no error."""
        check_name(contact, "contact")
        await self._exchange.do(lambda request_id: messages.ShowAgain(request_id, contact, user))

    async def show_to(self, user: str, device: str, contact: str) -> None:
        """Show the device to the contact, who need not be one, also while the user appears offline.

        It ends with `stop_showing`, by a block, and when the device is gone, which a link that was lost for longer than
        the server's grace time means as well. Raises `RequestError` (`show_limit`, `no_such_device`, `bad_request` for
        oneself and for somebody whom one has blocked).
        """
        check_name(contact, "contact")
        await self._exchange.do(lambda request_id: messages.ShowTo(request_id, contact, user, device))

    async def stop_showing(self, user: str, device: str, contact: str) -> None:
        """The device is not shown to the contact any longer. That it was not is no error."""
        check_name(contact, "contact")
        await self._exchange.do(lambda request_id: messages.StopShowing(request_id, contact, user, device))

    async def set_audience(
        self,
        user: str,
        *,
        text: AudienceLevel = "everyone",
        last_seen: AudienceLevel = "everyone",
        device: AudienceLevel = "everyone",
        always: Iterable[str] = (),
        never: Iterable[str] = (),
    ) -> None:
        """Set to whom the user shows text and emoji, last seen and since when, and the primary device.

        Each is for `everyone` who sees the user, for `contacts` whom the user has approved, or for `nobody`. Users in
        `always` are shown all three and users in `never` none, whatever the levels. Sets all of it: what is not given
        is as for a user who never set anything. Raises `RequestError` (`audience_limit`).
        """
        for level in (text, last_seen, device):
            if level not in get_args(AudienceLevel):
                known = ", ".join(get_args(AudienceLevel))
                raise AddressError(f"{level!r} is no audience; use one of {known}", "bad_request")
        shown, kept_from = check_names(always), check_names(never)

        def make(request_id: int) -> messages.SetAudience:
            return messages.SetAudience(request_id, text, last_seen, device, shown, kept_from, user)

        if len(encode(make(REQUEST_ID_MAX))) > self._exchange.frame_bytes_max:
            # The server would have to close the link: the longest names in the greatest number fit no frame.
            raise AddressError("the names in always and never are too long together; name fewer", "audience_limit")
        await self._exchange.do(make)

    async def get_audience(self, user: str) -> Audience:
        """To whom the user shows which field."""
        reply = await self._exchange.request(
            lambda request_id: messages.GetAudience(request_id, user), messages.AudienceInfo
        )
        return Audience(reply.text, reply.last_seen, reply.device, reply.always, reply.never)
