"""Webhooks: owed from the commit that ends a run, delivered until they are taken or given up, and to whom."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psycopg
import pytest

from threadline.checkpoints.pool import Database, Pool
from threadline.graphs.registry import Registry
from threadline.graphs.webhooks import WebhookRules
from threadline.runs.model import CancelAction, MultitaskStrategy, Run
from threadline.runs.webhook_policy import RefusedWebhook, WebhookPolicy
from threadline.runs.webhooks import MAX_ATTEMPTS
from threadline.tests.laboratory.locks import until
from threadline.tests.runs.hook_receiver import Receiver, receive_hooks
from threadline.tests.runs.life_world import World, load_graphs, open_world

HERE = WebhookPolicy(allow_loopback=True)
RUN_KEYS = {
    "run_id",
    "thread_id",
    "assistant_id",
    "metadata",
    "status",
    "kwargs",
    "multitask_strategy",
    "created_at",
    "updated_at",
    "langsmith_session_name",
    "run_started_at",
    "run_ended_at",
    "webhook_sent_at",
    "values",
}


MADE_UP = {"run_id": "x", "kwargs": {}, "status": "success"}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return load_graphs(tmp_path)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receive_hooks() as opened:
        yield opened


@pytest.fixture
async def world(database: Database, registry: Registry) -> AsyncIterator[World]:
    async with open_world(database, registry, webhooks=HERE) as opened:
        yield opened


async def start(world: World, graph: str, receiver: Receiver, **changes: Any) -> Run:
    kwargs = {"webhook": receiver.url, "config": {"configurable": {"api_key": "sk-1", "colour": "blue"}}}
    return await world.start(graph, webhook=receiver.url, kwargs=kwargs, **changes)


async def until_received(receiver: Receiver, count: int = 1) -> Any:
    await until(lambda: len(receiver.bodies) >= count, f"{count} webhooks arrive")
    assert len(receiver.bodies) == count
    return receiver.bodies[-1]


async def owed(pool: Pool) -> list[Any]:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select attempts, error, died_at is not null from webhook_deliveries order by delivery_id"
        )
        return await cursor.fetchall()


async def test_a_webhook_carries_the_whole_run_and_what_it_left(world: World, receiver: Receiver, pool: Pool) -> None:
    run = await start(world, "steps", receiver)
    body = await until_received(receiver)
    assert set(body) == RUN_KEYS
    assert (body["run_id"], body["thread_id"], body["status"]) == (str(run.run_id), str(run.thread_id), "success")
    assert body["values"] == {"log": ["in", "first", "second"]}
    assert body["run_started_at"] <= body["run_ended_at"] <= body["webhook_sent_at"]
    assert body["created_at"].endswith("+00:00")
    assert body["kwargs"]["config"]["configurable"]["colour"] == "blue"
    assert "sk-1" not in str(body)
    assert receiver.headers[0]["content-type"] == "application/json"
    assert receiver.headers[0]["host"] == f"127.0.0.1:{receiver.port}"
    await until(lambda: _is_settled(pool), "the delivery is noted")


async def _is_settled(pool: Pool) -> bool:
    async with pool.connection() as connection:
        cursor = await connection.execute("select delivered_at is not null, due_at is null from webhook_deliveries")
        return await cursor.fetchall() == [(True, True)]


async def test_a_failed_run_tells_its_error(world: World, receiver: Receiver) -> None:
    await start(world, "failing", receiver)
    body = await until_received(receiver)
    assert (body["status"], body["error"]) == ("error", {"error": "ValueError", "message": "kaboom"})
    assert body["values"] == {"log": ["in", "first"]}


async def test_a_run_that_asks_a_question_is_told_as_a_success(world: World, receiver: Receiver) -> None:
    await start(world, "asking", receiver)
    assert (await until_received(receiver))["status"] == "success"


@pytest.mark.parametrize("action", list(CancelAction))
async def test_a_cancelled_run_is_told_too(world: World, receiver: Receiver, action: CancelAction) -> None:
    run = await start(world, "waiting", receiver)
    await world.reach(run, ".node_finished")
    await world.engine.queue.cancel(run.thread_id, run.run_id, action)
    assert (await until_received(receiver))["status"] == "interrupted"


async def test_a_run_that_never_started_is_told_too(world: World, receiver: Receiver) -> None:
    run = await start(world, "steps", receiver, delay=timedelta(hours=1))
    await world.engine.queue.cancel(run.thread_id, run.run_id, CancelAction.ROLLBACK)
    body = await until_received(receiver)
    assert (body["status"], body["run_started_at"]) == ("interrupted", None)


async def test_a_superseded_run_and_the_one_in_its_place_are_told(world: World, receiver: Receiver) -> None:
    run = await start(world, "waiting", receiver)
    await world.reach(run, ".node_finished")
    strategy = MultitaskStrategy.INTERRUPT
    second = await start(world, "steps", receiver, thread_id=run.thread_id, multitask_strategy=strategy)
    await until_received(receiver, 2)
    told = {body["run_id"]: body["status"] for body in receiver.bodies}
    assert told == {str(run.run_id): "interrupted", str(second.run_id): "success"}


async def test_a_refused_delivery_is_tried_again(world: World, receiver: Receiver, pool: Pool) -> None:
    receiver.answers = [503, 404]
    await start(world, "steps", receiver)
    await until(lambda: len(receiver.bodies) >= 1, "the first attempt")
    for count in (2, 3):
        await _make_due(pool, count - 1)
        await until_received(receiver, count)
    assert len({body["run_id"] for body in receiver.bodies}) == 1


async def _postpone(pool: Pool) -> bool:
    """Let nobody try again before the test says so; false until there is an attempt to try again after."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "update webhook_deliveries set due_at = clock_timestamp() + interval '1 hour' where error is not null"
        )
        return cursor.rowcount > 0


async def _make_due(pool: Pool, attempts: int) -> None:
    """Let the pause be over as soon as the attempt is noted."""

    async def noted() -> bool:
        async with pool.connection() as connection:
            cursor = await connection.execute(
                "update webhook_deliveries set due_at = clock_timestamp() where attempts = %s and error is not null",
                [attempts],
            )
            return cursor.rowcount == 1

    await until(noted, f"attempt {attempts} is noted")


async def test_a_delivery_is_given_up_in_the_end_and_kept(
    world: World, receiver: Receiver, pool: Pool, dsn: str
) -> None:
    receiver.answers = [500] * 5
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"alter table webhook_deliveries alter attempts set default {MAX_ATTEMPTS - 2}")
    await start(world, "steps", receiver)
    await _make_due(pool, MAX_ATTEMPTS - 1)
    await until_received(receiver, 2)

    async def is_dead() -> bool:
        return await owed(pool) == [(MAX_ATTEMPTS, "answered 500", True)]

    await until(is_dead, "it is given up")


async def test_a_delivery_outlives_the_process_that_owed_it(
    database: Database, registry: Registry, receiver: Receiver, pool: Pool
) -> None:
    receiver.answers = [500]
    async with open_world(database, registry, webhooks=HERE) as first:
        await start(first, "steps", receiver)
        await until_received(receiver)
        await until(lambda: _postpone(pool), "the refusal is noted")
    await _make_due(pool, 1)
    async with open_world(database, registry, webhooks=HERE, executes=False):
        body = await until_received(receiver, 2)
    assert body["status"] == "success"


async def test_what_a_dead_process_had_taken_falls_due_again(world: World, receiver: Receiver, pool: Pool) -> None:
    async with pool.connection() as connection:
        await connection.execute(
            """
            insert into webhook_deliveries (run_id, thread_id, url, run, attempts, due_at)
            values (gen_random_uuid(), gen_random_uuid(), %s, %s, 1, clock_timestamp() + interval '0.5 seconds')
            """,
            [receiver.url, json.dumps(dict.fromkeys(RUN_KEYS | {"started_at", "ended_at", "error"}) | MADE_UP)],
        )
    assert (await until_received(receiver))["run_id"] == "x"


async def test_a_redirect_is_not_followed(world: World, receiver: Receiver, pool: Pool) -> None:
    receiver.answers, receiver.location = [307], receiver.url + "/elsewhere"
    await start(world, "steps", receiver)

    async def is_noted() -> bool:
        return await owed(pool) == [(1, "answered 307", False)]

    await until(is_noted, "the redirect is a failure")
    assert receiver.paths == ["/hook"]


async def test_an_address_that_became_private_is_not_called(
    database: Database, registry: Registry, receiver: Receiver, pool: Pool
) -> None:
    async with open_world(database, registry, webhooks=HERE, executes=True) as lenient:
        lenient.engine.webhooks.courier.policy = WebhookPolicy()  # what the next moment's look finds out
        await start(lenient, "steps", receiver)

        async def is_dead() -> bool:
            return await owed(pool) == [(1, "Webhook host blocked: loopback IP range", True)]

        await until(is_dead, "it is given up at once")
    assert receiver.bodies == []


async def test_headers_of_the_configuration_go_along(
    database: Database, registry: Registry, receiver: Receiver
) -> None:
    policy = replace(HERE, rules=WebhookRules(headers={"Authorization": "Bearer secret"}))
    async with open_world(database, registry, webhooks=policy) as world:
        await start(world, "steps", receiver)
        await until_received(receiver)
    assert receiver.headers[0]["authorization"] == "Bearer secret"


async def test_a_run_with_a_webhook_that_may_not_be_called_is_refused(
    database: Database, registry: Registry, receiver: Receiver
) -> None:
    async with open_world(database, registry) as world:
        with pytest.raises(RefusedWebhook, match="loopback IP range"):
            await start(world, "steps", receiver)


def resolving(*addresses: str) -> Any:
    async def resolve(host: str, port: int) -> Any:
        return [ip_address(address) for address in addresses]

    return resolve


PUBLIC = resolving("93.184.216.34")


@pytest.mark.parametrize(
    ("url", "addresses", "reason"),
    [
        ("http://example.com/x", ["93.184.216.34"], "must use https"),
        ("https://example.com/x", ["10.0.0.1"], "leads to 10.0.0.1"),
        ("https://example.com/x", ["93.184.216.34", "192.168.0.1"], "leads to 192.168.0.1"),
        ("https://example.com/x", ["::1"], "loopback IP range"),
        ("https://example.com/x", ["::ffff:10.0.0.1"], "not on the public internet"),
        ("https://example.com/x", ["169.254.169.254"], "not on the public internet"),
        ("https://example.com/x", ["fd00::1"], "not on the public internet"),
        ("https://example.com/x", ["0.0.0.0"], "not on the public internet"),
        ("https://localhost/x", ["127.0.0.1"], "localhost address"),
        ("https://a.localhost./x", ["127.0.0.1"], "localhost address"),
        ("/hook", [], "paths of this server are disabled"),
        ("//example.com/x", ["93.184.216.34"], "Invalid webhook hostname"),
        ("ftp://example.com/x", ["93.184.216.34"], "Invalid webhook hostname"),
        ("file:///etc/passwd", [], "Invalid webhook hostname"),
        ("https://", [], "Invalid webhook hostname"),
        ("junk", [], "Invalid webhook hostname"),
        ("https://example.com:99999/x", ["93.184.216.34"], "there is no port 99999"),
    ],
)
async def test_only_public_hosts_are_called_and_by_https(url: str, addresses: list[str], reason: str) -> None:
    with pytest.raises(RefusedWebhook, match=reason):
        await WebhookPolicy().check(url, resolving(*addresses))


@pytest.mark.parametrize(
    "url", ["https://example.com/x?a=b", "https://user:word@example.com:8443/", "https://93.184.216.34/"]
)
async def test_public_hosts_are_called(url: str) -> None:
    assert await WebhookPolicy().check(url, PUBLIC) == [ip_address("93.184.216.34")]


async def test_development_adds_this_machine_and_nothing_else() -> None:
    for url in ("http://localhost:1/x", "https://127.0.0.1/x"):
        assert await HERE.check(url, resolving("127.0.0.1")) == [ip_address("127.0.0.1")]
    assert await HERE.check("/hook") == ()
    for url, address in (("http://example.com/", "93.184.216.34"), ("https://example.com/", "10.0.0.1")):
        with pytest.raises(RefusedWebhook):
            await HERE.check(url, resolving(address))


async def test_the_configuration_narrows_what_may_be_called() -> None:
    policy = WebhookPolicy(WebhookRules(allowed_domains=("*.example.com",), allowed_ports=(443,)))
    assert await policy.check("https://a.example.com/", PUBLIC)
    for url in ("https://example.com/", "https://a.example.com:8443/", "https://other.org/"):
        with pytest.raises(RefusedWebhook, match=r"webhooks\.url"):
            await policy.check(url, PUBLIC)
    with pytest.raises(RefusedWebhook, match="disabled"):
        await WebhookPolicy(WebhookRules(enabled=False)).check("https://a.example.com/", PUBLIC)
