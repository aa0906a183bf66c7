"""Owns the rules on runs, their log and their clients: each returns what is wrong in a history, or nothing."""

from collections.abc import Iterable, Iterator
from itertools import zip_longest

import orjson

from threadline.runs.model import RUN_ENDED, RunStatus
from threadline.tests.faults.facts import METADATA, Event, History


def find_lost_runs(history: History) -> Iterator[str]:
    """Every run that was answered with 2xx is there, and every run that is there is final."""
    rows = {row.run_id: row for row in history.runs}
    for run in history.accepted:
        if run.run_id not in rows and not run.may_go:
            yield f"{run.run_id} was accepted and is not there"
    for row in history.runs:
        if not RunStatus(row.status).is_final:
            yield f"{row.run_id} is {row.status} in the end"


def find_wrong_ends(history: History) -> Iterator[str]:
    """Each run has one end in the log, the one its row names, and nothing of it behind that."""
    for row in history.runs:
        events = history.events_of_run.get(row.run_id, [])
        ends = [event.seq for event in events if event.name == RUN_ENDED]
        if ends != [row.end_seq]:
            yield f"{row.run_id} has its ends at {ends}, its row says {row.end_seq}"
        elif events[-1].seq != row.end_seq:
            yield f"{row.run_id} has ended at {row.end_seq}, its log goes on to {events[-1].seq}"


def find_wrong_numbers(history: History) -> Iterator[str]:
    """Rows follow each other without hole or overlap, up to what the thread's head says."""
    for thread_id, last_seq in history.heads.items():
        expected = 1
        for row in history.rows_of_thread.get(thread_id, []):
            if row.first_seq != expected:
                yield f"{thread_id}: a row begins at {row.first_seq} where {expected} was due"
            if [event.seq for event in row.events] != list(range(row.first_seq, row.last_seq + 1)):
                yield f"{thread_id}: row {row.first_seq} to {row.last_seq} has {len(row.events)} events"
            expected = row.last_seq + 1
        if expected != last_seq + 1:
            yield f"{thread_id}: the head is at {last_seq}, the log at {expected - 1}"


def find_wrong_attempts(history: History) -> Iterator[str]:
    """The events that open attempts count 1, 2, 3, up to the attempt that the row has."""
    for row in history.runs:
        events = history.events_of_run.get(row.run_id, [])
        attempts = [orjson.loads(event.data)["attempt"] for event in events if event.name == METADATA]
        if attempts != list(range(1, row.attempt + 1)):
            yield f"{row.run_id} is at attempt {row.attempt}, its log opens {attempts}"


def find_wrong_streams(history: History) -> Iterator[str]:
    """What a client got, over all its connections, is what the log has for it; it was told the end."""
    for received in history.received:
        logged = [event for event in history.events_of_run.get(received.run_id, []) if event.is_shown]
        if difference := _compare(logged, received.events):
            yield f"{received.client}, run {received.run_id}: {difference}"
        elif not received.has_ended:
            yield f"{received.client}, run {received.run_id}: the stream did not end"


def _compare(logged: Iterable[Event], received: Iterable[Event]) -> str:
    for there, here in zip_longest(logged, received):
        if there is None:
            return f"got {here.seq} {here.name} behind the end of the log"
        if here is None:
            return f"did not get {there.seq} {there.name}"
        if (there.seq, there.name) != (here.seq, here.name):
            return f"got {here.seq} {here.name} where the log has {there.seq} {there.name}"
        if there.data != here.data:
            return f"got other data in {here.seq} {here.name}"
    return ""


def find_wrong_answers(history: History) -> Iterator[str]:
    """Who waited for a run that had its thread to itself was told the state that the thread has."""
    threads = {run.run_id: run.thread_id for run in history.accepted if run.is_compared}
    for answer in history.answers:
        thread_id = threads.get(answer.run_id)
        if thread_id is not None and answer.values != history.values.get(thread_id):
            yield f"{answer.client}, run {answer.run_id}: was told {answer.values[:200]}"
