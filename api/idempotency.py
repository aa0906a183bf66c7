"""Owns the header `Idempotency-Key`: how it is read, what of the request it stands for, and how answers show it.

That what it stands for is made once is `runs.idempotency`'s.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Annotated
from uuid import UUID

import orjson
from fastapi import Depends, Request

from threadline.api.dependencies import parse_json
from threadline.api.errors import InvalidRequest
from threadline.api.guard import route_path
from threadline.runs.callers import current_user
from threadline.runs.engine import Engine
from threadline.runs.errors import RunNotFound
from threadline.runs.idempotency import Ids, Key, Keyed, MadeAndGone, ids_of
from threadline.runs.model import Run, RunRequest, RunStatus

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
MAX_KEY = 255
_NAME = HEADER.lower().encode()
_KEY = re.compile(rb"[ -~]+")

Marks = Mapping[str, str]
FIRST: Marks = {}
AGAIN: Marks = {REPLAYED: "true"}


async def read_key(request: Request) -> Key | None:
    """Return the key of the request, None without one. Raises InvalidRequest for what is no key."""
    found = [value for name, value in request.scope["headers"] if name == _NAME]
    if not found:
        return None
    if len(found) > 1:
        raise InvalidRequest(f"{HEADER}: sent {len(found)} times, must be sent once")
    if not 0 < len(found[0]) <= MAX_KEY or not _KEY.fullmatch(found[0]):
        raise InvalidRequest(f"{HEADER}: must be 1 to {MAX_KEY} printable characters of ASCII")
    user = current_user()
    return Key(
        caller=sha256(user.identity.encode("utf-8", "surrogatepass") if user else b"").digest(),
        idempotency_key=found[0].decode("ascii"),
        fingerprint=await _take_fingerprint(request),
    )


async def _take_fingerprint(request: Request) -> bytes:
    """Return what tells this request from others: how its JSON is written, and its headers, are no part of it."""
    text = await request.body()
    body = orjson.dumps(parse_json(text), option=orjson.OPT_SORT_KEYS) if text else b""
    return sha256(b"\0".join((request.method.encode(), route_path(request.scope).encode(), body))).digest()


KeyDep = Annotated[Key | None, Depends(read_key)]


async def accept_run(engine: Engine, key: Key | None, ask: Callable[[], Awaitable[RunRequest]]) -> tuple[Run, Marks]:
    """Accept the run that is asked for, or find the one that was accepted under the key."""
    if key is None:
        return await engine.queue.create(await ask()), FIRST

    async def ask_for_one() -> list[RunRequest]:
        return [await ask()]

    (run,), marks = await accept_runs(engine, key, ask_for_one)
    return run, marks


async def accept_runs(
    engine: Engine, key: Key, ask: Callable[[], Awaitable[Sequence[RunRequest]]]
) -> tuple[Sequence[Run], Marks]:
    """Accept the runs that are asked for, all or none, or find those that were accepted under the key."""

    async def accept(transaction: Keyed) -> Sequence[Run]:
        return await engine.queue.create_within(transaction, await ask())

    async def find(made: Sequence[Ids]) -> Sequence[Run]:
        return [await _find_run(engine, ids) for ids in made]

    runs, replayed = await engine.keys.once(
        key, accept, lambda accepted: [ids_of(thread_id=run.thread_id, run_id=run.run_id) for run in accepted], find
    )
    return runs, AGAIN if replayed else FIRST


async def _find_run(engine: Engine, ids: Ids) -> Run:
    try:
        return await engine.queue.get(UUID(ids["thread_id"]), UUID(ids["run_id"]))
    except RunNotFound:
        raise MadeAndGone("Run", ids["run_id"]) from None


def as_accepted(run: Run, marks: Marks) -> Run:
    """Return the run as it was answered the first time: as a run under a key is when it is accepted."""
    return replace(run, status=RunStatus.PENDING, updated_at=run.created_at) if marks else run
