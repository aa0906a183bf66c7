"""Owns who is measured and in what: the contenders, the slices of each, and how they are brought up."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from threadline.bench.children import Child, run_child
from threadline.bench.postgres import Postgres
from threadline.bench.processes import Usage, watch_usage
from threadline.bench.server import run_server
from threadline.bench.slices import Measure, Order, Sample

CLIENTS = (1, 32, 128)
BURST_CLIENTS = 32


@dataclass(frozen=True, slots=True)
class Contender:
    """Something that runs the graph. `children` is how many processes serve HTTP, none for in process."""

    name: str
    title: str
    children: int = 0
    needs_database: bool = True


GRAPH = Contender("graph", "graph alone", needs_database=False)
MEMORY = Contender("memory", "InMemorySaver", needs_database=False)
OFFICIAL = Contender("official", "official AsyncPostgresSaver, pool")
ENGINE = Contender("engine", "our engine, group commit")
SERVER_1 = Contender("server-1", "whole server over HTTP, 1 child", children=1)
SERVER_2 = Contender("server-2", "whole server over HTTP, 2 children", children=2)
CONTENDERS = (GRAPH, MEMORY, OFFICIAL, ENGINE, SERVER_1, SERVER_2)


@dataclass(frozen=True, slots=True)
class Case:
    """What one number of the table is measured by."""

    contender: Contender
    measure: Measure
    clients: int


@dataclass(frozen=True, slots=True)
class Result:
    """One slice of a case: what its clients saw, and what the contender itself used meanwhile."""

    sample: Sample
    usage: Usage


@dataclass(frozen=True, slots=True)
class Opened:
    """A contender that is up: who measures it, and the processes that it consists of."""

    contender: Contender
    child: Child
    pids: list[int]

    async def measure(self, order: Order) -> Result:
        """Measure a slice. Raises ContenderFailed."""
        async with watch_usage(self.pids) as usage:
            sample = await self.child.measure(order)
        return Result(sample, usage)


def list_cases(contenders: Sequence[Contender]) -> list[Case]:
    """Return the slices of a round in an order that keeps apart what is compared by seconds only."""
    cases = [Case(contender, Measure.RUNS, clients) for clients in CLIENTS for contender in contenders]
    servers = [contender for contender in contenders if contender.children]
    cases += [Case(server, Measure.FIRST_EVENT, 1) for server in servers]
    return cases + [Case(server, Measure.BURST, BURST_CLIENTS) for server in servers]


@asynccontextmanager
async def open_contender(contender: Contender, postgres: Postgres, folder: Path) -> AsyncIterator[Opened]:
    """Bring a contender up on a database of its own for the length of the block; raises ContenderFailed."""
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(postgres.open_database()) if contender.needs_database else ""
        if contender.children:
            server = await stack.enter_async_context(run_server(dsn, contender.children, folder))
            child = await stack.enter_async_context(run_child("http_load", server.host, server.port))
            yield Opened(contender, child, server.pids)
        else:
            child = await stack.enter_async_context(run_child("in_process", contender.name, dsn))
            yield Opened(contender, child, [child.pid])
