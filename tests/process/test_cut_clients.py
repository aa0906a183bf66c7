"""A client that is cut behind every event in turn, on the wire: what it gets in all is what an uncut one got."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx

from threadline.tests.laboratory.locks import until
from threadline.tests.process.deployments import Deployment

END = b"\r\n\r\n"
RUN = {
    "assistant_id": "chatty",
    "stream_mode": ["values", "updates", "messages-tuple", "custom"],
    "stream_subgraphs": True,
    "if_not_exists": "create",
}
KINDS = {b"metadata", b"values", b"updates", b"messages", b"custom", b"values|sub", b"updates|sub", b"custom|sub"}


def kind_of(frame: bytes) -> bytes:
    return frame.partition(b"\r\n")[0].removeprefix(b"event: ").partition(b":")[0]


def id_of(frame: bytes) -> str:
    return frame.rpartition(b"id: ")[2].decode()


async def frames_of(answer: httpx.Response) -> AsyncIterator[bytes]:
    """The frames that are events, byte for byte, as they come."""
    rest = b""
    async for chunk in answer.aiter_raw():
        *frames, rest = (rest + chunk).split(END)
        for frame in frames:
            if frame.startswith(b"event: "):
                yield frame
    assert rest == b""


class Reader:
    """A plain client of one run's stream, which can be cut off and come back."""

    def __init__(self, http: httpx.AsyncClient, path: str, last_event_id: str = "-1") -> None:
        self.frames: list[bytes] = []
        self._http = http
        self._path = path
        self._last_event_id = last_event_id

    async def read(self, count: int | None = None) -> int:
        """Read on behind the last event, so many events or to the end, cut the connection, and return how many came."""
        came = 0
        headers = {"last-event-id": self._last_event_id}
        async with self._http.stream("GET", self._path, headers=headers) as answer:
            async for frame in frames_of(answer):
                self.frames.append(frame)
                self._last_event_id = id_of(frame)
                came += 1
                if came == count:
                    break
        return came


async def start(http: httpx.AsyncClient, name: str, *gates: str) -> str:
    """Start a run and return the path of its stream."""
    body = {**RUN, "input": {"name": name, "gates": list(gates)}}
    answer = await http.post(f"/threads/{uuid4()}/runs", json=body)
    run = answer.raise_for_status().json()
    return f"/threads/{run['thread_id']}/runs/{run['run_id']}/stream"


async def test_a_client_cut_behind_every_event_of_a_finished_run_misses_and_repeats_nothing(served: Deployment) -> None:
    async with served.clients() as (_, http):
        path = await start(http, "finished")
        uncut = Reader(http, path)
        await uncut.read()
        assert {kind_of(frame) for frame in uncut.frames} == KINDS
        assert 40 <= len(uncut.frames) <= 60
        for position, frame in enumerate(uncut.frames, 1):
            reader = Reader(http, path, id_of(frame))
            await reader.read()
            assert reader.frames == uncut.frames[position:]


async def test_clients_cut_behind_each_event_of_a_live_run_get_what_an_uncut_one_gets(served: Deployment) -> None:
    """Half of the run has gone when it is held up: behind these events the clients come back to a run that waits."""
    async with served.clients() as (_, http):
        path = await start(http, "live", "talk")
        uncut, *readers = (Reader(http, path) for _ in range(61))
        following = [asyncio.create_task(uncut.read())]
        following += [asyncio.create_task(read_twice(reader, count)) for count, reader in enumerate(readers, 1)]
        await until(lambda: uncut.frames and b'"said"' in uncut.frames[-1], "the run waits at its gate")
        half = len(uncut.frames)
        await until(lambda: all(len(reader.frames) == half for reader in readers), "all clients have caught up")
        served.project.open_gate("live", "talk")
        await asyncio.wait_for(asyncio.gather(*following), 30)
        assert half > 30
        assert len(uncut.frames) >= half + 15
        for reader in readers:
            assert reader.frames == uncut.frames


async def read_twice(reader: Reader, count: int) -> int:
    return await reader.read(count) + await reader.read()


async def test_a_client_cut_behind_every_single_event_gets_what_an_uncut_one_gets(served: Deployment) -> None:
    async with served.clients() as (_, http):
        path = await start(http, "again and again")
        uncut, unlucky = Reader(http, path), Reader(http, path)
        following = asyncio.create_task(uncut.read())
        while await unlucky.read(1):
            pass
        await following
        assert unlucky.frames == uncut.frames
