"""Owns the measurement of what a long conversation takes in PostgreSQL, beside LangGraph's own saver.

usage: .venv/bin/python bench/storage.py [--turns 500] [--postgres DSN]
"""

import argparse
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from uuid import UUID

import orjson
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection

from threadline.bench.conversation import Chat, draw, question
from threadline.bench.in_process import open_bench_engine
from threadline.bench.postgres import open_postgres
from threadline.checkpoints.migrate import migrate
from threadline.checkpoints.pool import Database, open_pool
from threadline.graphs.registry import system_assistant_id
from threadline.keeping import KeepSettings
from threadline.runs.copies import measure_thread
from threadline.runs.engine import Engine
from threadline.runs.expiry import Expiry
from threadline.runs.identity import uuid7
from threadline.runs.model import JsonObject, RunRequest

LOOKS = (10, 50, 100, 250, 500, 1000)  # turns after which it is measured
PARTS = ("checkpoints", "channel_values", "pending_writes", "events", "runs", "thread")
HOUR = timedelta(hours=1)
TURNS = KeepSettings(checkpoints=HOUR, last_checkpoints=True, events=HOUR, runs=HOUR)
NEWEST = KeepSettings(checkpoints=HOUR, latest_checkpoints=10, events=HOUR, runs=HOUR)

Turn = Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation under way: its thread, what takes its next turn, and what lets its time pass."""

    thread_id: UUID
    take_turn: Turn
    let_time_pass: Callable[[], Awaitable[None]]


@asynccontextmanager
async def talk_to_official(dsn: str) -> AsyncIterator[Talk]:
    """LangGraph's graph on LangGraph's saver."""
    thread_id = uuid7()
    await migrate(Database(dsn))
    async with AsyncPostgresSaver.from_conn_string(dsn) as saver, await AsyncConnection.connect(dsn) as connection:
        # Only so that the thread can be measured by the same statement.
        await connection.execute("insert into thread_heads (thread_id) values (%s)", [thread_id])
        await connection.commit()
        graph = draw(Chat).compile(checkpointer=saver)

        async def take_turn(turn: int) -> None:
            await graph.ainvoke(question(turn), {"configurable": {"thread_id": str(thread_id)}})

        yield Talk(thread_id, take_turn, _nothing_passes)


def talk_to_us(
    graph_id: str, mode: str, keep: KeepSettings | None = None
) -> Callable[[str], AbstractAsyncContextManager[Talk]]:
    """Return what opens our engine: a run for each turn, whose events are those of this stream mode."""

    @asynccontextmanager
    async def open_talk(dsn: str) -> AsyncIterator[Talk]:
        thread_id = uuid7()
        async with open_bench_engine(dsn) as engine:

            async def take_turn(turn: int) -> None:
                run = await engine.queue.create(_request(thread_id, graph_id, mode, turn))
                result = orjson.loads(await engine.tails.result(run) or b"null")
                if len(result["messages"]) != 3 * turn:
                    raise ValueError(f"turn {turn} left {len(result['messages'])} messages instead of {3 * turn}")

            yield Talk(thread_id, take_turn, lambda: _expire(engine, keep) if keep else _nothing_passes())

    return open_talk


CONTENDERS: dict[str, Callable[[str], AbstractAsyncContextManager[Talk]]] = {
    "LangGraph's AsyncPostgresSaver": talk_to_official,
    "ours, all kept, `values` streamed": talk_to_us("chat", "values"),
    "ours, all kept, `updates` streamed": talk_to_us("chat", "updates"),
    "ours, the last checkpoint of each run kept": talk_to_us("chat", "values", TURNS),
    "ours, the newest 10 checkpoints kept": talk_to_us("chat", "values", NEWEST),
    "ours, all kept, state in a `DeltaChannel`": talk_to_us("summed_chat", "updates"),
}


async def _nothing_passes() -> None:
    """Nothing is removed."""


async def _expire(engine: Engine, keep: KeepSettings) -> None:
    """Do what sweeps do after an hour, now."""
    expiry = Expiry(engine.pool, keep)
    now = datetime.now(UTC) + timedelta(seconds=1)
    for clear in (expiry.thin_checkpoints, expiry.remove_events, expiry.remove_runs):
        while await clear(now):
            continue


def _request(thread_id: UUID, graph_id: str, mode: str, turn: int) -> RunRequest:
    return RunRequest(
        run_id=uuid7(),
        thread_id=thread_id,
        assistant_id=system_assistant_id(graph_id),
        graph_id=graph_id,
        kwargs={"input": question(turn), "stream_mode": [mode]},
        metadata={},
        inherited_metadata={"created_by": "system"},
        fresh_thread=turn == 1,
    )


async def follow(
    dsn: str, open_talk: Callable[[str], AbstractAsyncContextManager[Talk]], turns: int
) -> list[JsonObject]:
    """Take all turns, and return what the thread took after some of them."""
    measured = []
    async with open_talk(dsn) as talk, open_pool(Database(dsn), "bench") as pool:
        for turn in range(1, turns + 1):
            await talk.take_turn(turn)
            if turn in LOOKS:
                await talk.let_time_pass()
                measured.append(await measure_thread(pool, talk.thread_id))
    return measured


def tell(results: dict[str, list[JsonObject]], looks: Sequence[int]) -> str:
    """Return the page: all bytes by turns, then what they are of at the end."""
    lines = ["kB after so many turns, and kB that the last of them added each", ""]
    lines += [f"| | {' | '.join(f'{look} turns' for look in looks)} | a turn |", f"|---|{'---|' * (len(looks) + 1)}"]
    for name, measured in results.items():
        totals = [each["total_bytes"] / 1000 for each in measured]
        apart = looks[-1] - looks[-2] if len(looks) > 1 else looks[-1]
        last = (totals[-1] - (totals[-2] if len(totals) > 1 else 0)) / apart
        lines.append(f"| {name} | {' | '.join(f'{total:,.0f}' for total in totals)} | {last:,.1f} |")
    lines += ["", f"kB at {looks[-1]} turns, by what they are", ""]
    lines += [f"| | {' | '.join(PARTS)} |", f"|---|{'---|' * len(PARTS)}"]
    for name, measured in results.items():
        parts = (measured[-1][part]["bytes"] / 1000 for part in PARTS)
        lines.append(f"| {name} | {' | '.join(f'{part:,.0f}' for part in parts)} |")
    return "\n".join(lines)


async def main(turns: int, dsn: str | None) -> None:
    """Hold each conversation on a database of its own, and print the page."""
    folder = Path(mkdtemp(prefix="threadline-bench-"))
    looks = [look for look in LOOKS if look <= turns]
    try:
        async with open_postgres(dsn, folder) as postgres:
            results = {}
            for name, open_talk in CONTENDERS.items():
                async with postgres.open_database() as database:
                    results[name] = await follow(database, open_talk, looks[-1])
            print(f"PostgreSQL {postgres.version}\n\n{tell(results, looks)}")
    finally:
        rmtree(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench/storage.py", description="Measure what a long conversation takes.")
    parser.add_argument("--turns", type=int, default=500, choices=LOOKS, help="how long it is (default 500)")
    parser.add_argument("--postgres", metavar="DSN", help="a server that may create databases, instead of our own")
    found = parser.parse_args()
    asyncio.run(main(found.turns, found.postgres))
