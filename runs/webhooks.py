"""Owns the delivery of webhooks: at least once each, until they are taken or given up.

That one is owed is written by the database, in the commit that ends the run. How it is sent is the courier's, what
clients see of deliveries `deliveries`' business.
"""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import uniform
from typing import Any, NamedTuple
from uuid import UUID

import httpx2
import orjson
from psycopg import Error
from psycopg.rows import class_row
from psycopg_pool import PoolTimeout

from threadline.checkpoints.pool import Pool
from threadline.checkpoints.sealing import open_text, run_place, thread_place
from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.vault import Vault, VaultError, vault_of
from threadline.runs.background import cancel
from threadline.runs.courier import DEADLINE, Courier, NotTaken
from threadline.runs.deliveries import Deliveries
from threadline.runs.encoding import encode
from threadline.runs.model import JsonObject
from threadline.runs.secrets import shown_kwargs
from threadline.runs.signatures import Signer
from threadline.runs.webhook_policy import RefusedWebhook, WebhookPolicy

logger = logging.getLogger("threadline.webhooks")

CONCURRENCY = 32
PATIENCE = timedelta(seconds=60)  # after which somebody else may try what a process has taken
MAX_ATTEMPTS = 12
LONGEST_PAUSE = 600.0  # seconds; the pauses before it are 1, 2, 4, ...
LONGEST_RETRY_AFTER = 3600.0  # seconds; whoever asks for more is asked again all the same

_SQL = load_statements("threadline.runs", "webhooks.sql")


class Owed(NamedTuple):
    """A webhook to deliver. `run` is the row of `runs` as the run's end left it, `values` JSON text.

    `webhook_id` is the same for each attempt; `last_attempt` is the one with which it is given up.
    """

    delivery_id: int
    webhook_id: UUID
    attempts: int
    last_attempt: int
    run_id: UUID
    thread_id: UUID
    url: str
    run: JsonObject
    values: str | None

    @property
    def tries(self) -> int:
        """How often it was tried since it was owed, or started anew."""
        return self.attempts - self.last_attempt + MAX_ATTEMPTS


@dataclass(frozen=True, slots=True)
class Webhooks:
    """The webhooks that this process delivers, and as `deliveries` those of all."""

    pool: Pool
    courier: Courier
    poll: timedelta

    @property
    def policy(self) -> WebhookPolicy:
        """Which addresses may be called."""
        return self.courier.policy

    @property
    def deliveries(self) -> Deliveries:
        """What became of them."""
        return Deliveries(self.pool, MAX_ATTEMPTS)

    async def deliver_for_ever(self) -> None:
        """Deliver what falls due, several at once; to whom nothing is delivered holds up nobody else."""
        tasks: set[asyncio.Task[None]] = set()
        try:
            while True:
                pause = self.poll.total_seconds()
                try:
                    for owed in await self._claim(CONCURRENCY - len(tasks)):
                        task = asyncio.create_task(self._attend(owed), name=f"webhook/{owed.delivery_id}")
                        tasks.add(task)
                        task.add_done_callback(tasks.discard)
                    pause = await self._next_due()
                except (Error, PoolTimeout, OSError) as error:
                    logger.warning("webhooks.retry", extra={"error": repr(error)})
                await self._rest(pause, tasks)
        finally:
            await cancel(tasks)
            await self.courier.close()

    async def _rest(self, pause: float, tasks: set[asyncio.Task[None]]) -> None:
        """Wait for the time; when all places are taken, for one of them."""
        if len(tasks) >= CONCURRENCY:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.01, pause)):
                    await asyncio.Event().wait()

    async def _claim(self, room: int) -> list[Owed]:
        parameters = {"room": room, "patience": PATIENCE, "is_local": self.courier.local_app is not None}
        async with self.pool.connection() as connection, connection.cursor(row_factory=class_row(Owed)) as cursor:
            await cursor.execute(_SQL["claim"], parameters)
            return await cursor.fetchall()

    async def _next_due(self) -> float:
        poll = self.poll.total_seconds()
        async with self.pool.connection() as connection:
            cursor = await connection.execute(_SQL["next_due"], {"is_local": self.courier.local_app is not None})
            row = await cursor.fetchone()
        return poll if not row or row[0] is None else min(poll, row[0])

    async def _attend(self, owed: Owed) -> None:
        """Deliver one and note what became of it; without a database it is simply due again."""
        try:
            await self._try(owed)
        except (Error, PoolTimeout, OSError) as error:
            logger.warning("webhook.not_noted", extra={**_facts(owed), "error": repr(error)})

    async def _try(self, owed: Owed) -> None:
        try:
            async with asyncio.timeout(DEADLINE.total_seconds()):
                now = datetime.now(UTC)
                body = write_body(await _open(vault_of(self.pool), owed), now)
                status_code = await self.courier.carry(owed.url, owed.webhook_id, now, body)
        except RefusedWebhook as refusal:
            await self._bury(owed, str(refusal))
        except NotTaken as answer:
            await self._fail(owed, str(answer), answer)
        except (httpx2.HTTPError, OSError, TimeoutError, VaultError) as error:
            await self._fail(owed, str(error) or type(error).__name__)
        else:
            logger.info("webhook.delivered", extra=_facts(owed))
            await self._note("settle", owed, status_code=status_code)

    async def _fail(self, owed: Owed, reason: str, answer: NotTaken | None = None) -> None:
        status_code = answer.status_code if answer else None
        if owed.attempts >= owed.last_attempt or (answer and answer.is_final):
            await self._bury(owed, reason, status_code)
            return
        delay = pause(owed.tries, answer.retry_after if answer else None)
        logger.warning("webhook.postponed", extra={**_facts(owed), "error": reason, "delay": round(delay)})
        await self._note("postpone", owed, delay=delay, error=reason, status_code=status_code)

    async def _bury(self, owed: Owed, reason: str, status_code: int | None = None) -> None:
        logger.error("webhook.given_up", extra={**_facts(owed), "error": reason})
        await self._note("bury", owed, error=reason, status_code=status_code)

    async def _note(self, statement: str, owed: Owed, **more: Any) -> None:
        parameters = {"delivery_id": owed.delivery_id, "attempts": owed.attempts, **more}
        async with self.pool.connection() as connection:
            await connection.execute(_SQL[statement], parameters)


def make_webhooks(pool: Pool, policy: WebhookPolicy, signer: Signer, poll: timedelta) -> Webhooks:
    """Return what delivers the webhooks of a process, which may serve those to paths later."""
    return Webhooks(pool, Courier(policy, signer), poll)


def pause(tries: int, retry_after: float | None) -> float:
    """Return for how many seconds to leave it alone: longer each time, and as long as was asked for, within bounds."""
    own = min(2.0 ** (tries - 1), LONGEST_PAUSE) * uniform(0.8, 1.2)  # noqa: S311 - spreads load only
    return own if retry_after is None else max(own, min(retry_after, LONGEST_RETRY_AFTER))


async def _open(vault: Vault, owed: Owed) -> Owed:
    """Return it with what the run was given and the thread's values. Raises VaultError."""
    if not vault.seals:
        return owed
    places = [(run_place(name, owed.run_id), owed.run[name]) for name in ("kwargs", "error")]
    kwargs, error = await vault.open_json(places)
    values = await open_text(vault, thread_place("values", owed.thread_id), owed.values)
    return owed._replace(run={**owed.run, "kwargs": kwargs, "error": error}, values=values)


def write_body(owed: Owed, now: datetime) -> bytes:
    """Return what the webhook carries: the run as clients know it, when it ran, and what it left."""
    run = owed.run
    kwargs = run["kwargs"]
    body: JsonObject = {
        "run_id": run["run_id"],
        "thread_id": run["thread_id"],
        "assistant_id": run["assistant_id"],
        "metadata": run["metadata"],
        "status": run["status"],
        "kwargs": shown_kwargs(kwargs),
        "multitask_strategy": run["multitask_strategy"],
        "created_at": _utc(run["created_at"]),
        "updated_at": _utc(run["updated_at"]),
        "langsmith_session_name": (kwargs.get("langsmith_tracer") or {}).get("project_name"),
        "run_started_at": _utc(run["started_at"]),
        "run_ended_at": _utc(run["ended_at"]),
        "webhook_sent_at": now.isoformat(timespec="microseconds"),
        "values": orjson.Fragment(owed.values) if owed.values is not None else None,
    }
    if run["error"] is not None:
        body["error"] = run["error"]
    return encode(body)


def _facts(owed: Owed) -> dict[str, Any]:
    return {"run_id": str(owed.run_id), "webhook_id": str(owed.webhook_id), "attempt": owed.attempts}


def _utc(time: str | None) -> str | None:
    return datetime.fromisoformat(time).astimezone(UTC).isoformat(timespec="microseconds") if time else None
