"""Owns a project together with the programs that serve it, at one address and on one data directory or database."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from psycopg import AsyncConnection

from threadline.checkpoints.embedded import attach
from threadline.tests.checkpoints.embedded.owners import find_postmaster
from threadline.tests.laboratory.locks import until
from threadline.tests.laboratory.places import variables as way_to
from threadline.tests.process.programs import Program, free_port, is_alive, launch
from threadline.tests.process.projects import Project, write_project

# A second instead of three: what is tested is that others wait for a lease, not for how long.
QUICK = {"THREADLINE_LEASE_SECONDS": "1", "THREADLINE_LEASE_RENEW_SECONDS": "0.2"}


class Clients(NamedTuple):
    """The official client, and a plain one."""

    sdk: LangGraphClient
    http: httpx.AsyncClient


class Deployment:
    """One project and whatever was started for it; ended with `close`."""

    def __init__(self, folder: Path, data_dir: Path | None = None, dsn: str | None = None) -> None:
        self.folder = folder
        self.project: Project = write_project(folder / "other")
        self.data_dir = data_dir or folder / "data"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.dsn = dsn
        self.programs: list[Program] = []

    async def serve(self, *flags: str, **environment: str) -> Program:
        """Start `threadline serve` and wait until all its children serve."""
        sign = f"serves {self.url}"
        return await self._start(sign, "serve", "--port", str(self.port), *flags, **environment)

    async def api(self, **environment: str) -> Program:
        """Start `threadline api` and wait until it serves."""
        return await self._start("api.ready", "api", "--port", str(self.port), **environment)

    async def work(self, **environment: str) -> Program:
        """Start `threadline worker` and wait until it executes."""
        return await self._start("worker.ready", "worker", **environment)

    async def _start(self, sign: str, command: str, *flags: str, **environment: str) -> Program:
        where = ["--config", "other/langgraph.json", "--data-dir", str(self.data_dir)]
        program = self.launch([command, *where, *flags], environment)
        await program.ready(sign)
        return program

    def launch(self, arguments: list[str], environment: Mapping[str, str]) -> Program:
        """Start `threadline` and wait for nothing."""
        name = f"{len(self.programs) + 1}-{arguments[0]}"
        program = launch(
            arguments, self.folder, {**QUICK, **(way_to(self.dsn) if self.dsn else {}), **environment}, name
        )
        self.programs.append(program)
        return program

    @asynccontextmanager
    async def clients(self) -> AsyncIterator[Clients]:
        """Have clients of the address, whoever serves it, for the length of the block."""
        async with (
            get_client(url=self.url, api_key=None) as sdk,
            httpx.AsyncClient(base_url=self.url, timeout=30) as http,
        ):
            yield Clients(sdk, http)

    @property
    def postmaster(self) -> int:
        """The process id of the embedded PostgreSQL."""
        return find_postmaster(self.data_dir)

    async def without_postgres(self, pid: int) -> None:
        """Wait until that PostgreSQL has gone."""
        await until(lambda: not is_alive(pid), f"PostgreSQL, process {pid}, ends")

    async def rows(self, statement: str, *parameters: Any) -> list[Any]:
        """Ask the database."""
        dsn = self.dsn or attach(self.data_dir)
        assert dsn is not None
        async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
            cursor = await connection.execute(statement.encode(), parameters)
            return await cursor.fetchall() if cursor.description is not None else []

    async def assert_each_run_ended_once(self) -> None:
        """Whatever was accepted is a success, and has one end in the log, which is the one its row names."""
        assert await self.rows("select count(*) from runs where status = 'success'") != [(0,)]
        assert await self.rows("select run_id, status from runs where status <> 'success'") == []
        ends = (
            "select e.run_id from run_events e, json_array_elements(e.contents) with ordinality as c (event, number)"
            " join runs r on true where r.run_id = e.run_id and c.event ->> 0 = '.run_ended'"
            " group by e.run_id having count(*) <> 1 or max(e.first_seq + c.number - 1) <> max(r.end_seq)"
        )
        assert await self.rows(ends) == []

    async def close(self) -> None:
        """End everything that was started, and show what it said, should somebody want to know."""
        for program in self.programs:
            print(program.output.name, program.said()[-20_000:], sep="\n")
            if program.process.poll() is None:
                program.kill()
        for pid in self._postgres():
            await self.without_postgres(pid)

    def _postgres(self) -> list[int]:
        try:
            return [self.postmaster]
        except (FileNotFoundError, ValueError):
            return []
