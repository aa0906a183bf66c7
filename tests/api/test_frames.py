"""The rows of a thread's log as the frames of one run's stream, byte for byte; and where a stream starts."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from threadline.api.errors import InvalidRequest
from threadline.api.stream import RunFrames, error_frame, starting_point
from threadline.runs.errors import ThreadGone
from threadline.runs.model import RUN_ENDED, LogRow, MultitaskStrategy, Run, RunStatus

THREAD, RUN, OTHER = uuid4(), uuid4(), uuid4()


def row(first_seq: int, *events: tuple[str, bytes], run_id: UUID = RUN) -> LogRow:
    contents = [(name, len(data), 0) for name, data in events]
    payload = b"".join(data for _, data in events)
    return LogRow(THREAD, first_seq, first_seq + len(events) - 1, run_id, contents, payload)


def run(status: RunStatus = RunStatus.RUNNING, *, start_seq: int = 10, end_seq: int | None = None) -> Run:
    now = datetime.now(UTC)
    return Run(
        run_id=RUN,
        thread_id=THREAD,
        assistant_id=uuid4(),
        graph_id="echo",
        status=status,
        metadata={},
        kwargs={},
        multitask_strategy=MultitaskStrategy.ENQUEUE,
        error=None,
        attempt=1,
        failures=0,
        start_seq=start_seq,
        end_seq=end_seq,
        created_at=now,
        updated_at=now,
        started_at=now,
        ended_at=None,
    )


def names(frames: bytes) -> list[str]:
    return [line[7:].decode() for line in frames.split(b"\r\n") if line.startswith(b"event: ")]


def test_a_frame_has_event_data_and_id_in_this_order_with_crlf() -> None:
    frames = RunFrames(RUN, 0).frames([row(7, ("values", b'{"n":1}'))])
    assert frames == b'event: values\r\ndata: {"n":1}\r\nid: 7\r\n\r\n'


def test_events_of_one_row_come_one_behind_the_other() -> None:
    frames = RunFrames(RUN, 0).frames([row(1, ("metadata", b'{"a":1}'), ("updates", b"{}"))])
    assert frames == (b'event: metadata\r\ndata: {"a":1}\r\nid: 1\r\n\r\nevent: updates\r\ndata: {}\r\nid: 2\r\n\r\n')


def test_events_of_other_runs_and_internal_events_are_not_shown() -> None:
    frames = RunFrames(RUN, 0)
    shown = frames.frames(
        [
            row(1, ("values", b"{}"), run_id=OTHER),
            row(2, (".node_started", b"{}"), ("values", b"{}"), (".node_finished", b"{}")),
            row(5, (RUN_ENDED, b"{}"), run_id=OTHER),
        ]
    )
    assert shown == b"event: values\r\ndata: {}\r\nid: 3\r\n\r\n"
    assert not frames.has_ended


def test_the_end_of_the_run_ends_the_stream_and_is_not_shown() -> None:
    frames = RunFrames(RUN, 0)
    assert names(frames.frames([row(1, ("values", b"{}"), (RUN_ENDED, b"{}"))])) == ["values"]
    assert frames.has_ended


def test_events_up_to_the_cursor_are_not_shown_again() -> None:
    frames = RunFrames(RUN, 2)
    shown = frames.frames([row(1, ("values", b"1"), ("values", b"2"), ("values", b"3"))])
    assert shown == b"event: values\r\ndata: 3\r\nid: 3\r\n\r\n"


@pytest.mark.parametrize(
    ("modes", "shown"),
    [
        ([], ["metadata", "values", "values|sub:1", "messages", "messages/partial|sub:1", "custom", "error"]),
        (["values"], ["values", "values|sub:1", "error"]),
        (["custom"], ["custom", "error"]),
        (["messages"], ["messages/partial|sub:1", "error"]),
        (["messages-tuple"], ["messages", "error"]),
        (["messages", "messages-tuple"], ["messages", "messages/partial|sub:1", "error"]),
        (["metadata", "custom"], ["metadata", "custom", "error"]),
        (["debug"], ["error"]),
        (["nonsense"], ["error"]),
    ],
)
def test_a_filter_shows_its_modes_and_always_errors(modes: list[str], shown: list[str]) -> None:
    everything = ["metadata", "values", "values|sub:1", "messages", "messages/partial|sub:1", "custom", "error"]
    frames = RunFrames(RUN, 0, modes).frames([row(1, *((name, b"{}") for name in everything))])
    assert names(frames) == shown


def test_a_line_break_in_a_nodes_name_does_not_break_the_frame() -> None:
    frames = RunFrames(RUN, 0).frames([row(1, ("values|a\r\nid: 99\n:1", b"{}"))])
    assert frames == b"event: values|a  id: 99 :1\r\ndata: {}\r\nid: 1\r\n\r\n"


def test_what_ends_a_stream_early_is_an_error_event() -> None:
    message = f"Thread with ID {THREAD} was deleted"
    expected = f'event: error\r\ndata: {{"error":"ThreadGone","message":"{message}"}}\r\n\r\n'
    assert error_frame(ThreadGone(THREAD)) == expected.encode()


@pytest.mark.parametrize(
    ("last_event_id", "asked", "start"),
    [
        (None, run(), 50),
        ("", run(), 50),
        (None, run(RunStatus.PENDING), 50),
        (None, run(RunStatus.SUCCESS, end_seq=30), None),
        ("-", run(), 10),
        ("-1", run(), 10),
        ("-", run(RunStatus.SUCCESS, end_seq=30), 10),
        ("20", run(), 20),
        ("0", run(), 10),
        ("50", run(), 50),
        ("51", run(), 10),
        ("9" * 40, run(), 10),
        ("29", run(RunStatus.SUCCESS, end_seq=30), 29),
        ("30", run(RunStatus.SUCCESS, end_seq=30), None),
        ("40", run(RunStatus.ERROR, end_seq=30), None),
    ],
)
def test_a_stream_starts_behind_what_the_client_has_seen(
    last_event_id: str | None, asked: Run, start: int | None
) -> None:
    assert starting_point(last_event_id, asked, last_seq=50) == start


@pytest.mark.parametrize("last_event_id", ["abc", "1795435277117-0", "-2", "1.5", " 7", "٣"])
def test_an_id_that_no_event_has_is_refused(last_event_id: str) -> None:
    with pytest.raises(InvalidRequest, match="must be the id of an event, or - for all events"):
        starting_point(last_event_id, run(), last_seq=50)
