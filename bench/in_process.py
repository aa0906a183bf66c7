"""Owns the contenders without a server: the graph called where it is measured, by itself and with each saver.

usage: python -m threadline.bench.in_process NAME [DSN]
"""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import uvloop
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from threadline.bench.children import take_orders
from threadline.bench.slices import Done, Order, Run, Sample, measure
from threadline.bench.workload import STEPS_INPUT, STEPS_RESULT, check, draw_steps
from threadline.checkpoints.migrate import migrate
from threadline.checkpoints.pool import Database
from threadline.graphs.configuration import load_configuration
from threadline.graphs.registry import Registry, system_assistant_id
from threadline.runs.engine import Engine, EngineSettings, open_engine
from threadline.runs.identity import uuid7
from threadline.runs.model import RunRequest
from threadline.settings import ApiSettings, DatabaseSettings, WorkerSettings

CONFIGURATION = Path(__file__).with_name("langgraph.json")


def run_graph(checkpointer: BaseCheckpointSaver[Any] | None) -> Run:
    """Return what calls the graph on a new thread, as LangGraph's own documents say."""
    graph: Any = draw_steps().compile(checkpointer=checkpointer)

    async def run() -> Done:
        config = {"configurable": {"thread_id": str(uuid4())}} if checkpointer is not None else None
        check(await graph.ainvoke(STEPS_INPUT, config), STEPS_RESULT)
        return Done()

    return run


async def measure_graph(dsn: str) -> None:
    """The graph without a checkpointer: what is left when durability costs nothing."""
    run = run_graph(None)
    await take_orders(lambda order: measure([run] * order.clients, order.seconds))


async def measure_memory(dsn: str) -> None:
    """LangGraph's saver in memory, a new one for each slice because it never forgets."""

    async def measure_slice(order: Order) -> Sample:
        return await measure([run_graph(InMemorySaver())] * order.clients, order.seconds)

    await take_orders(measure_slice)


async def measure_official(dsn: str) -> None:
    """LangGraph's Postgres saver over a pool: one for all clients, set up as its documents say."""
    pool: AsyncConnectionPool[AsyncConnection[DictRow]] = AsyncConnectionPool(
        dsn,
        min_size=1,
        max_size=DatabaseSettings().pool_size,
        kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row},
        open=False,
    )
    async with pool:
        saver = AsyncPostgresSaver(pool)
        await saver.setup()
        run = run_graph(saver)
        await take_orders(lambda order: measure([run] * order.clients, order.seconds))


async def measure_engine(dsn: str) -> None:
    """Our engine without HTTP: a run is accepted, executed with the group-commit saver, and waited for."""
    async with open_bench_engine(dsn) as engine:

        async def run() -> Done:
            accepted = await engine.queue.create(_request())
            result = await engine.tails.result(accepted)
            check(orjson.loads(result or b"null"), STEPS_RESULT)
            return Done()

        await take_orders(lambda order: measure([run] * order.clients, order.seconds))


@asynccontextmanager
async def open_bench_engine(dsn: str) -> AsyncIterator[Engine]:
    """Have an engine with the settings of a server on that database, which is migrated before."""
    database = Database(dsn, pool_size=DatabaseSettings().pool_size)
    await migrate(database)
    worker = WorkerSettings()
    settings = EngineSettings(
        executes=True,
        concurrency=worker.run_concurrency,
        lease=worker.lease,
        lease_renew=worker.lease_renew,
        poll=worker.poll,
        run_timeout=worker.run_timeout,
        drain=worker.drain,
        max_attempts=worker.max_attempts,
        max_pending_runs=ApiSettings().max_pending_runs,
    )
    async with open_engine(database, Registry(load_configuration(CONFIGURATION)), settings) as engine:
        yield engine


def _request() -> RunRequest:
    return RunRequest(
        run_id=uuid7(),
        thread_id=uuid7(),
        assistant_id=system_assistant_id("steps"),
        graph_id="steps",
        kwargs={"input": STEPS_INPUT},
        metadata={},
        inherited_metadata={"created_by": "system"},
        fresh_thread=True,
    )


MEASURED: dict[str, Callable[[str], Awaitable[None]]] = {
    "graph": measure_graph,
    "memory": measure_memory,
    "official": measure_official,
    "engine": measure_engine,
}


async def main(name: str, dsn: str = "") -> None:
    """Measure the contender of this name."""
    await MEASURED[name](dsn)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
