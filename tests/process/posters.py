"""Owns a client that starts runs without pause, and what it may be told while the database is in trouble."""

import asyncio
from collections import Counter
from uuid import uuid4

import httpx

from threadline.tests.laboratory.locks import until
from threadline.tests.process.projects import Project

UNAVAILABLE = (503,)


class Poster:
    """Starts one run after the other until it is stopped, and looks up each that was accepted."""

    def __init__(self, http: httpx.AsyncClient, name: str) -> None:
        self.accepted: list[tuple[str, str]] = []  # path and name of each run
        self.answers: Counter[int] = Counter()
        self._http = http
        self._name = name
        self._stopping = asyncio.Event()
        self._task = asyncio.create_task(self._post(), name="poster")

    async def _post(self) -> None:
        while not self._stopping.is_set():
            name = f"{self._name} {self.answers.total()}"
            body = {"assistant_id": "line", "input": {"name": name}, "if_not_exists": "create"}
            answer = await self._http.post(f"/threads/{uuid4()}/runs", json=body)
            self.answers[answer.status_code] += 1
            if answer.is_success:
                run = answer.json()
                self.accepted.append((f"/threads/{run['thread_id']}/runs/{run['run_id']}", name))
                await self._look(self.accepted[-1][0])
            await asyncio.sleep(0.02)

    async def _look(self, path: str) -> None:
        """What was accepted is there, whoever looks and when; or nobody can tell at the moment."""
        answer = await self._http.get(path)
        self.answers[answer.status_code] += 1
        if answer.is_success:
            assert answer.json()["status"] in ("pending", "running", "success")

    async def accepts(self) -> None:
        """Wait until another run is accepted."""
        before = len(self.accepted)
        await until(lambda: self._task.done() or len(self.accepted) > before + 1, "another run is accepted", 60)
        if self._task.done():
            self._task.result()

    async def stop(self) -> None:
        """Stop after the answer that is awaited."""
        self._stopping.set()
        await self._task

    async def assert_kept(self, project: Project) -> None:
        """Every accepted run is there and has ended, and each of its nodes has run; refusals were told as such."""
        assert self.accepted
        assert set(self.answers) <= {200, *UNAVAILABLE}, self.answers
        for path, name in self.accepted:
            answer = await self._http.get(f"{path}/join")
            assert answer.raise_for_status().json()["log"] == ["a", "b", "c"]
            assert (await self._http.get(path)).raise_for_status().json()["status"] == "success"
            assert set(project.starts(name)) == {"a", "b", "c"}
