"""A support desk: tickets go to whoever is on duty and free, wait while nobody is, and leave whoever has gone away."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import presenced

PATIENCE_S = 600.0
"""So long an agent who is away keeps a ticket."""

ESCALATED_S = 3_600.0
"""After this time without an answer the ticket is the manager's."""


@dataclass
class Ticket:
    name: str
    agent: str = ""
    """Whose it is; empty = it waits."""
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    trail: list[str] = field(default_factory=list)


class Desk:
    """For as long as `run` runs."""

    def __init__(self, presence: presenced.Service, agents: list[str], manager: str) -> None:
        self.presence = presence
        self.agents = agents
        self.manager = manager
        self.tickets: list[Ticket] = []

    async def hire(self, agent: str, zone: str, hours: tuple[str, str, str]) -> None:
        """On duty in these hours of the week: outside of them the agent shows as busy."""
        days, begin, end = hours
        await self.presence.set_schedule(agent, zone, [(days, end, begin)], "dnd")

    async def work(self, ticket: Ticket) -> str:
        """From its arrival to its answer; returns who has answered."""
        self.tickets.append(ticket)
        try:
            async with asyncio.timeout(ESCALATED_S):
                while not ticket.answered.is_set():
                    ticket.agent = await self._free_agent()
                    ticket.trail.append(ticket.agent)
                    await self._until_answered_or_gone(ticket)
        except TimeoutError:
            ticket.agent = self.manager
            ticket.trail.append(self.manager)
            await ticket.answered.wait()
        self.tickets.remove(ticket)
        return ticket.agent

    async def _free_agent(self) -> str:
        """Who is there and has the fewest tickets; waits until somebody is."""
        while True:
            records = await self.presence.get_statuses(self.agents)
            free = [agent for agent in self.agents if records[agent].status in ("online", "chat")]
            if free:
                return min(free, key=lambda agent: sum(ticket.agent == agent for ticket in self.tickets))
            waits = [
                asyncio.create_task(self.presence.await_status(agent, statuses=["online", "chat"], timeout=86_400))
                for agent in self.agents
            ]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    async def _until_answered_or_gone(self, ticket: Ticket) -> None:
        """The agent's turn."""
        gone = self.presence.await_status(
            ticket.agent, statuses=["away", "xa", "dnd", "offline"], for_at_least=PATIENCE_S, timeout=7 * 86_400
        )
        waits = [asyncio.create_task(gone), asyncio.create_task(ticket.answered.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
