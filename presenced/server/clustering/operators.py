"""Asks other nodes what operators of this one want to know of them, and answers such questions of other nodes.

Questions and answers go through the common log, so that no connection between nodes is needed. Every node reads all of
the log, so that only few and short questions are worth asking.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
from collections.abc import Callable, Collection, Coroutine, Iterator

import msgspec

from presenced.cluster.links.inquiries import Asked, Inquiries
from presenced.cluster.log.node import Node
from presenced.cluster.log.nodes import Member
from presenced.cluster.messages import (
    CloseLinks,
    LinksClosed,
    LinksListed,
    ListLinks,
    NodeStops,
    OperatorQuestion,
    StopNode,
)
from presenced.cluster.node_keys import NOWHERE, NodeKey
from presenced.server.clocks import Clocks
from presenced.server.closed_links import ClosedLinks, LinksToClose, close_links
from presenced.server.drain import Stopping
from presenced.server.link_report import (
    SLICE_ROWS,
    FoundLinks,
    LinkFilter,
    LinkInfo,
    LinkQuery,
    find_links,
    told_key,
)
from presenced.server.links import Links
from presenced.server.node_faults import NodeFault
from presenced.wire.codec import encode

log = logging.getLogger("presenced")

ANSWER_S = 2.0
"""How long other nodes may take to answer what an operator of this one wants."""

_decode_link = msgspec.msgpack.Decoder(LinkInfo).decode


class Operators:
    """Asks the other nodes for the operators of this one, and answers theirs."""

    def __init__(
        self, node: Node, inquiries: Inquiries, links: Links, clocks: Clocks, drain: Callable[[], Stopping]
    ) -> None:
        """`drain` lets this node stop in order."""
        self._node = node
        self._inquiries = inquiries
        self._links = links
        self._clocks = clocks
        self._drain = drain
        self._answering: set[asyncio.Task[None]] = set()
        inquiries.answer_by(self._begin_answer)

    # --- what operators of this node want ---------------------------------------------------------------------

    async def close_links(self, wanted: LinksToClose) -> ClosedLinks:
        """Close these links on all nodes, as `closed_links.close_links` does on one. Of nodes that do not answer in 2 s
        only the number is known. O(links and nodes)."""
        # One that does not know all users yet serves no links; but the user's devices may be its to end.
        node, home = self._node, self._node.home_of(wanted.user) if wanted.gone else NOWHERE
        others = [one.key for one in node.nodes if one is not node.mine and (one.is_ready or one.key == home)]
        question = CloseLinks(0, wanted.user, wanted.role or "", wanted.message, wanted.retry_ms, wanted.gone)
        with self._asking(question, others) as asking:
            here = await close_links(self._links, wanted, expels=self._expels(wanted))
            asked = await asking()
        closed = [said for _, said in asked.told if isinstance(said, LinksClosed)]
        elsewhere = sum(said.links for said in closed)
        held_by = [*here.held_by, *(name for said in closed for name in said.held_by)]
        return ClosedLinks(here.links + elsewhere, held_by, elsewhere, len(asked.waits_for))

    async def find_links(self, query: LinkQuery, name: str) -> FoundLinks:
        """Links of the node of this name, or of all nodes if it is empty, as `link_report.find_links` lists those of
        one. Each node sends as many as are wanted at most, about 250 bytes for each, through the log. Of nodes that do
        not answer in 2 s only the names are told. Raises `NodeFault` if there is no such node. O(links and nodes)."""
        members = [self._named(name)] if name else list(self._node.nodes)
        # One that does not know all users yet serves no links.
        others = {one.key: one.name for one in members if one is not self._node.mine and one.is_ready}
        askable = [one.key for one in members if one.key in others and one.is_asked]
        which = query.which
        question = ListLinks(0, which.user, which.role or "", which.slow, query.order, query.limit)
        found: list[FoundLinks] = []
        with self._asking(question, askable) as asking:
            if self._node.mine in members:
                found.append(await find_links(self._links, query, self._clocks, self._node.name))
            asked = await asking()
        for node in askable:
            found.append(await _told_by(node, asked))
        silent = [others[key] for key in others if key in asked.waits_for or key not in askable]
        rows = heapq.nlargest(
            query.limit, (row for one in found for row in one.links), key=lambda row: told_key(row, query.order)
        )
        return FoundLinks(sum(one.total for one in found), sum(one.matching for one in found), rows, sorted(silent))

    async def drain(self, name: str) -> Stopping:
        """Let the node of this name stop in order. Raises `NodeFault` if there is none, or if it does not answer."""
        member = self._named(name)
        if member is self._node.mine:
            return self._drain()
        if not member.is_ready:
            raise NodeFault("node_silent", f"the node {name} is still starting, and answers once it serves")
        with self._asking(StopNode(0), [member.key] if member.is_asked else []) as asking:
            asked = await asking()
        for _, said in asked.told:
            if isinstance(said, NodeStops):
                return Stopping(said.links, said.spread_ms, said.timeout_ms, member.incarnation)
        if not member.is_asked:
            raise NodeFault("node_silent", f"the node {name} is of an earlier version; drain it on its own machine")
        sentence = f"the node {name} has not answered; look at `presencectl cluster`, as it may stop all the same"
        raise NodeFault("node_silent", sentence)

    def _named(self, name: str) -> Member:
        for member in self._node.nodes:
            if member.name == name:
                return member
        known = ", ".join(sorted(member.name for member in self._node.nodes))
        raise NodeFault("no_such_node", f"no node of the cluster is called {name!r}; there are {known}")

    @contextlib.contextmanager
    def _asking(
        self, question: OperatorQuestion, nodes: Collection[NodeKey]
    ) -> Iterator[Callable[[], Coroutine[None, None, Asked]]]:
        """Ask these nodes; what is given waits for their answers, for as long as they may take."""
        answered = asyncio.Event()
        asked = self._inquiries.ask(question, nodes, lambda _: answered.set())

        async def wait() -> Asked:
            if asked.waits_for:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(answered.wait(), ANSWER_S)
            return asked

        try:
            yield wait
        finally:
            self._inquiries.forget(asked)

    # --- what operators of other nodes want -------------------------------------------------------------------

    def _begin_answer(self, sender: NodeKey, said: OperatorQuestion) -> None:
        if isinstance(said, StopNode) and not self._node.is_ready:
            # A start that is under way ends by itself, or by a signal.
            return
        task = asyncio.get_running_loop().create_task(self._answer(sender, said))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, sender: NodeKey, said: OperatorQuestion) -> None:
        match said:
            case CloseLinks():
                await self._close_for(sender, said)
            case ListLinks():
                await self._list_for(sender, said)
            case StopNode():
                log.info("cluster: drain, asked by an operator of the node %s", self._node.name_of(sender))
                stopping = self._drain()
                self._inquiries.answer(
                    sender, NodeStops(said.number, stopping.links, stopping.spread_ms, stopping.timeout_ms)
                )

    async def _close_for(self, sender: NodeKey, said: CloseLinks) -> None:
        wanted = LinksToClose(said.user, said.role or None, said.message, said.retry_ms, said.is_gone)
        closed = await close_links(self._links, wanted, expels=self._expels(wanted))
        self._inquiries.answer(sender, LinksClosed(said.number, closed.links, closed.held_by))
        if closed.links:
            log.info("cluster: %d links closed, as an operator of another node wanted", closed.links)

    async def _list_for(self, sender: NodeKey, said: ListLinks) -> None:
        query = LinkQuery(LinkFilter(said.user, said.role or None, said.is_slow), said.order, said.limit)
        found = await find_links(self._links, query, self._clocks, self._node.name)
        at = 0
        while True:
            rows = [msgspec.Raw(encode(row)) for row in found.links[at : at + SLICE_ROWS]]
            at += SLICE_ROWS
            is_last = at >= len(found.links)
            self._inquiries.answer(sender, LinksListed(said.number, found.total, found.matching, rows, is_last))
            if is_last:
                return
            await asyncio.sleep(0)

    def _expels(self, wanted: LinksToClose) -> bool:
        """Whether this node decides what becomes of the user's devices."""
        return not wanted.gone or self._node.home_of(wanted.user) in (self._node.me, NOWHERE)


async def _told_by(node: NodeKey, asked: Asked) -> FoundLinks:
    """What the node has told of its links; nothing if it was not all of it. O(that), in slices."""
    told = [said for sender, said in asked.told if sender == node and isinstance(said, LinksListed)]
    rows: list[LinkInfo] = []
    if not told or not told[-1].is_last:
        return FoundLinks(0, 0, rows)
    for said in told:
        await asyncio.sleep(0)
        rows += map(_decode_link, said.links)
    return FoundLinks(told[-1].total, told[-1].matching, rows)
