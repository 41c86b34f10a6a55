"""The answers that a session gets later: acknowledgements wait for the disk, questions wait for the end of the turn,
and the end of a link waits for both.
"""

from __future__ import annotations

from collections.abc import Callable

from presenced.core.model import Session

Question = Callable[[int], object]
"""Answers a question; called with the time then."""


class Obligations:
    """Owns what waits for an answer, and the links that are to be closed. `Session.unanswered` counts the former."""

    def __init__(self) -> None:
        self.acks: list[tuple[Session, int, bytes]] = []
        """Requests applied in this turn (session, id, reply or b"" for done) whose reply waits until their facts are as
        durable as promised; and with the id 0 what is told behind such replies."""
        self.closing: list[tuple[Session, str]] = []
        """Sessions whose links are to be closed, and the code to say goodbye with ("" = none)."""
        self.asking: dict[Session, None] = {}
        """Sessions with a question that is answered at the end of this turn, or of one that follows it."""
        self._questions: list[tuple[Session, Question]] = []

    # --- acknowledgements -------------------------------------------------------------------------------------

    def acknowledge(self, session: Session, request_id: int, answer: bytes) -> None:
        """Reply to a request once what it changed is as durable as promised. O(1)."""
        session.unanswered += 1
        self.acks.append((session, request_id, answer))

    def tell_behind(self, session: Session, message: bytes) -> None:
        """Send the session a message that is no reply, behind all replies that wait. O(1)."""
        self.acknowledge(session, 0, message)

    def take_acks(self) -> list[tuple[Session, int, bytes]]:
        """The requests since the last call, in order."""
        acks, self.acks = self.acks, []
        return acks

    def answered(self, session: Session) -> None:
        """One of the session's requests has its reply. If its link waits to end for nothing else, it ends. O(1)."""
        session.unanswered -= 1
        if session.ended and not session.unanswered:
            self.closing.append((session, ""))

    def expect(self, session: Session) -> None:
        """One more request of the session is answered later, by whoever calls `answered` then. O(1)."""
        session.unanswered += 1

    # --- questions --------------------------------------------------------------------------------------------

    def put_off(self, session: Session, question: Question) -> None:
        """Answer a question at the end of this turn. It is about somebody whose record is made only then: to make it at
        once would make two changes of one. O(1)."""
        session.unanswered += 1
        self._questions.append((session, question))
        self.asking[session] = None

    def answer(self, now_ms: int, end_session: Callable[[Session, int], object], is_enough: Callable[[], bool]) -> None:
        """Answer what was put off, in order; a bug in one ends its link alone. What is left once it `is_enough` is
        answered at the end of the next turn, which is to follow at once. O(what is answered)."""
        if not self._questions:
            return
        questions, self._questions = self._questions, []
        self.asking.clear()
        for place, (session, question) in enumerate(questions):
            if is_enough():
                self._questions = questions[place:]
                self.asking.update(dict.fromkeys(session for session, _ in self._questions))
                return
            try:
                question(now_ms)
            except Exception:
                session.edge.fail(now_ms)
            if session.ended:
                # It asked and left: it gets the answer, and must watch nothing from now on.
                end_session(session, now_ms)
            self.answered(session)

    # --- the ends of links ------------------------------------------------------------------------------------

    def close(self, session: Session, code: str) -> None:
        """Close the session's link at the end of this turn, with this code ("" = without a goodbye)."""
        self.closing.append((session, code))

    def take_closing(self) -> list[tuple[Session, str]]:
        """The links to close since the last call, in order."""
        closing, self.closing = self.closing, []
        return closing
