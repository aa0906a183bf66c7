"""Owns the delivery of webhooks: at least once each, until they are taken or given up.

That one is owed is written by the database, in the commit that ends the run. Which addresses are refused is
`webhook_policy`'s business.
"""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from random import uniform
from typing import Any, NamedTuple
from uuid import UUID

import httpx2
import orjson
from psycopg import Error
from psycopg.rows import class_row
from psycopg_pool import PoolTimeout
from starlette.types import ASGIApp

from threadline.checkpoints.pool import Pool
from threadline.checkpoints.sealing import open_text, run_place, thread_place
from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.vault import Vault, VaultError, vault_of
from threadline.graphs.assistant.addresses import Address
from threadline.runs.background import cancel
from threadline.runs.encoding import encode
from threadline.runs.model import JsonObject
from threadline.runs.secrets import shown_kwargs
from threadline.runs.webhook_policy import RefusedWebhook, WebhookPolicy, is_local

logger = logging.getLogger("threadline.webhooks")

CONCURRENCY = 32
DEADLINE = timedelta(seconds=20)  # for one request, from the name to the status
PATIENCE = timedelta(seconds=60)  # after which somebody else may try what a process has taken
MAX_ATTEMPTS = 12
LONGEST_PAUSE = 600.0  # seconds; the pauses before it are 1, 2, 4, ...

_SQL = load_statements("threadline.runs", "webhooks.sql")


class DeliveryFailed(Exception):
    """The other side did not take it; the text is for the row and the log."""


class Delivery(NamedTuple):
    """A webhook that is owed. `run` is the row of `runs` as the run's end left it, `values` JSON text."""

    delivery_id: int
    attempts: int
    run_id: UUID
    thread_id: UUID
    url: str
    run: JsonObject
    values: str | None


@dataclass
class Webhooks:
    """The webhooks that this process delivers. `local_app` serves those whose URL is a path."""

    pool: Pool
    policy: WebhookPolicy
    poll: timedelta
    local_app: ASGIApp | None = None

    async def deliver_for_ever(self) -> None:
        """Deliver what falls due, several at once; to whom nothing is delivered holds up nobody else."""
        tasks: set[asyncio.Task[None]] = set()
        try:
            while True:
                pause = self.poll.total_seconds()
                try:
                    for delivery in await self._claim(CONCURRENCY - len(tasks)):
                        task = asyncio.create_task(self._attend(delivery), name=f"webhook/{delivery.delivery_id}")
                        tasks.add(task)
                        task.add_done_callback(tasks.discard)
                    pause = await self._next_due()
                except (Error, PoolTimeout, OSError) as error:
                    logger.warning("webhooks.retry", extra={"error": repr(error)})
                await self._rest(pause, tasks)
        finally:
            await cancel(tasks)
            if "_client" in vars(self):
                await self._client.aclose()

    async def _rest(self, pause: float, tasks: set[asyncio.Task[None]]) -> None:
        """Wait for the time; when all places are taken, for one of them."""
        if len(tasks) >= CONCURRENCY:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.01, pause)):
                    await asyncio.Event().wait()

    async def _claim(self, room: int) -> list[Delivery]:
        parameters = {"room": room, "patience": PATIENCE, "is_local": self.local_app is not None}
        async with self.pool.connection() as connection, connection.cursor(row_factory=class_row(Delivery)) as cursor:
            await cursor.execute(_SQL["claim"], parameters)
            return await cursor.fetchall()

    async def _next_due(self) -> float:
        poll = self.poll.total_seconds()
        async with self.pool.connection() as connection:
            cursor = await connection.execute(_SQL["next_due"], {"is_local": self.local_app is not None})
            row = await cursor.fetchone()
        return poll if not row or row[0] is None else min(poll, row[0])

    async def _attend(self, delivery: Delivery) -> None:
        """Deliver one and note what became of it; without a database it is simply due again."""
        facts = {"run_id": str(delivery.run_id), "attempt": delivery.attempts}
        try:
            try:
                async with asyncio.timeout(DEADLINE.total_seconds()):
                    await self._post(delivery)
            except RefusedWebhook as refusal:
                await self._bury(delivery, str(refusal))
            except (DeliveryFailed, httpx2.HTTPError, OSError, TimeoutError) as error:
                await self._fail(delivery, str(error) or type(error).__name__)
            else:
                logger.info("webhook.delivered", extra=facts)
                await self._note("settle", delivery)
        except (Error, PoolTimeout, OSError) as error:
            logger.warning("webhook.not_noted", extra={**facts, "error": repr(error)})

    async def _fail(self, delivery: Delivery, reason: str) -> None:
        if delivery.attempts >= MAX_ATTEMPTS:
            await self._bury(delivery, reason)
            return
        delay = min(2.0 ** (delivery.attempts - 1), LONGEST_PAUSE) * uniform(0.8, 1.2)  # noqa: S311 - spreads load only
        facts = {"run_id": str(delivery.run_id), "attempt": delivery.attempts, "error": reason, "delay": round(delay)}
        logger.warning("webhook.postponed", extra=facts)
        await self._note("postpone", delivery, delay=delay, error=reason)

    async def _bury(self, delivery: Delivery, reason: str) -> None:
        facts = {"run_id": str(delivery.run_id), "attempts": delivery.attempts, "error": reason}
        logger.error("webhook.given_up", extra=facts)
        await self._note("bury", delivery, error=reason)

    async def _note(self, statement: str, delivery: Delivery, **more: Any) -> None:
        parameters = {"delivery_id": delivery.delivery_id, "attempts": delivery.attempts, **more}
        async with self.pool.connection() as connection:
            await connection.execute(_SQL[statement], parameters)

    async def _post(self, delivery: Delivery) -> None:
        """Send it to an address that was checked a moment ago. Redirects are not followed: they could lead anywhere."""
        addresses = await self.policy.check(delivery.url)
        try:
            delivery = await open_delivery(vault_of(self.pool), delivery)
        except VaultError as error:
            raise DeliveryFailed(str(error)) from error
        body = write_body(delivery, datetime.now(UTC))
        headers = {**self.policy.rules.headers, "Content-Type": "application/json"}
        if is_local(delivery.url):
            await self._post_here(delivery.url, body, headers)
            return
        url = httpx2.URL(delivery.url)
        *others, last = addresses
        for address in others:
            with suppress(httpx2.ConnectError):
                await self._post_to(url, address, body, headers)
                return
        await self._post_to(url, last, body, headers)

    async def _post_to(self, url: httpx2.URL, address: Address, body: bytes, headers: dict[str, str]) -> None:
        request = self._client.build_request(
            "POST",
            url.copy_with(host=str(address)),
            content=body,
            headers={**headers, "Host": url.netloc.decode("ascii")},
            extensions={"sni_hostname": url.raw_host.decode("ascii")},
        )
        response = await self._client.send(request, stream=True)  # what the body of the answer says is not read
        try:
            _check(response)
        finally:
            await response.aclose()

    async def _post_here(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        assert self.local_app is not None
        transport = httpx2.ASGITransport(app=self.local_app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            _check(await client.post(path, content=body, headers=headers))

    @cached_property
    def _client(self) -> httpx2.AsyncClient:
        # No proxies of the environment, and no reuse: a connection belongs to the name it was checked for.
        limits = httpx2.Limits(max_keepalive_connections=0)
        return httpx2.AsyncClient(trust_env=False, limits=limits, timeout=DEADLINE.total_seconds())


def write_body(delivery: Delivery, now: datetime) -> bytes:
    """Return what the webhook carries: the run as clients know it, when it ran, and what it left."""
    run = delivery.run
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
        "values": orjson.Fragment(delivery.values) if delivery.values is not None else None,
    }
    if run["error"] is not None:
        body["error"] = run["error"]
    return encode(body)


async def open_delivery(vault: Vault, delivery: Delivery) -> Delivery:
    """Return the delivery with what the run was given and the thread's values. Raises VaultError."""
    if not vault.seals:
        return delivery
    places = [(run_place(name, delivery.run_id), delivery.run[name]) for name in ("kwargs", "error")]
    kwargs, error = await vault.open_json(places)
    values = await open_text(vault, thread_place("values", delivery.thread_id), delivery.values)
    return delivery._replace(run={**delivery.run, "kwargs": kwargs, "error": error}, values=values)


def _check(response: httpx2.Response) -> None:
    if not response.is_success:
        raise DeliveryFailed(f"answered {response.status_code}")


def _utc(time: str | None) -> str | None:
    return datetime.fromisoformat(time).astimezone(UTC).isoformat(timespec="microseconds") if time else None
