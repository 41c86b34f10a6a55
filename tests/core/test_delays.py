"""The fixed-delay queue, against what its docstring promises."""

from __future__ import annotations

from hypothesis import given, strategies as st

from presenced.core.delays import DelayQueue


def test_items_come_out_in_order_and_exactly_at_their_time() -> None:
    queue: DelayQueue[str] = DelayQueue(200)
    queue.add(1_000, "first")
    queue.add(1_000, "second")
    queue.add(1_050, "third")
    assert queue.next_ms == 1_200
    assert queue.take_due(1_199) == []
    assert queue.take_due(1_200) == ["first", "second"]
    assert queue.next_ms == 1_250
    assert len(queue) == 1
    assert queue.take_due(9_000) == ["third"]


def test_an_empty_queue_has_no_next_time() -> None:
    queue: DelayQueue[str] = DelayQueue(200)
    assert queue.next_ms is None
    assert queue.take_due(10**9) == []
    assert len(queue) == 0


def test_without_delay_an_item_is_due_at_once() -> None:
    queue: DelayQueue[str] = DelayQueue(0)
    queue.add(5, "now")
    assert queue.take_due(5) == ["now"]


@given(
    st.integers(0, 10_000),
    st.lists(st.tuples(st.sampled_from(("add", "take_due", "take_first")), st.integers(0, 5_000)), max_size=60),
)
def test_the_queue_agrees_with_a_sorted_list(delay_ms: int, steps: list[tuple[str, int]]) -> None:
    queue: DelayQueue[int] = DelayQueue(delay_ms)
    twin: list[tuple[int, int]] = []
    now_ms = 0
    for item, (step, passes_ms) in enumerate(steps):
        now_ms += passes_ms
        expected = [entry for entry in sorted(twin) if entry[0] <= now_ms]
        if step == "add":
            queue.add(now_ms, item)
            twin.append((now_ms + delay_ms, item))
        elif step == "take_due":
            twin = [entry for entry in twin if entry[0] > now_ms]
            assert queue.take_due(now_ms) == [item for _, item in expected]
        else:
            assert queue.take_first(now_ms) == (expected[0][1] if expected else None)
            twin = [entry for entry in twin if entry not in expected[:1]]
        assert len(queue) == len(twin)
        assert queue.next_ms == (min(twin)[0] if twin else None)
