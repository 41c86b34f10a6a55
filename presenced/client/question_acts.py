"""What can be asked about one user beside what is kept of them: why they are shown as they are (protocol.md, section
23)."""

from __future__ import annotations

from presenced.client.act_group import ActGroup
from presenced.wire import messages
from presenced.wire.messages import Explanation


class QuestionActs(ActGroup):
    """Acts in which the server works something out."""

    async def explain(self, user: str) -> Explanation:
        """Why the user is shown as they are: the rule that decides, what each device and claim has to say and why it
        does not decide, all that is to come due, and the next change of what others see if nothing happens. Raises
        `RequestError` (`forbidden`) if the token does not let the link both see the user and act for them."""
        return await self._exchange.request(lambda request_id: messages.Explain(request_id, user), Explanation)
