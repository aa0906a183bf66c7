"""Deliveries of webhooks: signed, noted attempt by attempt, kept for a while, and started anew."""

import base64
import re
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from threadline.checkpoints.pool import Database, Pool
from threadline.graphs.registry import Registry
from threadline.runs.courier import read_retry_after
from threadline.runs.deliveries import Delivery, DeliveryNotFound, DeliveryUnderWay
from threadline.runs.model import TtlStrategy
from threadline.runs.signatures import Signer, make_signer
from threadline.runs.sweep import Keeping, Sweep
from threadline.runs.webhook_policy import WebhookPolicy
from threadline.runs.webhooks import LONGEST_PAUSE, LONGEST_RETRY_AFTER, MAX_ATTEMPTS, pause
from threadline.tests.laboratory.locks import until
from threadline.tests.runs.hook_receiver import Receiver, receive_hooks
from threadline.tests.runs.life_world import World, load_graphs, open_world
from threadline.tests.source import ROOT

HERE = WebhookPolicy(allow_loopback=True)
NEW = "whsec_" + base64.b64encode(b"n" * 32).decode()
OLD = "whsec_" + base64.b64encode(b"o" * 24).decode()


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return load_graphs(tmp_path)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receive_hooks() as opened:
        yield opened


@pytest.fixture
async def world(database: Database, registry: Registry) -> AsyncIterator[World]:
    async with open_world(database, registry, webhooks=HERE, signer=make_signer([NEW, OLD])) as opened:
        yield opened


async def owe(world: World, url: str, **changes: Any) -> UUID:
    """Let a run end that has a webhook, and return the run's id."""
    run = await world.start("steps", webhook=url, kwargs={"webhook": url}, **changes)
    await world.answer(run)
    return run.run_id


async def delivery_of(world: World, run_id: UUID) -> Delivery:
    found = await world.engine.webhooks.deliveries.search(run_id=run_id)
    assert len(found) == 1
    return found[0]


async def until_is(world: World, run_id: UUID, is_so: Callable[[Delivery], bool], what: str) -> Delivery:
    async def find() -> Delivery | None:
        delivery = await delivery_of(world, run_id)
        return delivery if is_so(delivery) else None

    found: Delivery = await until(find, what)
    return found


async def until_status(world: World, run_id: UUID, status: str) -> Delivery:
    return await until_is(world, run_id, lambda each: each.status == status, f"the webhook is {status}")


async def until_postponed(world: World, run_id: UUID, attempts: int = 1) -> Delivery:
    return await until_is(
        world,
        run_id,
        lambda each: each.attempts == attempts and each.attempt_log[-1]["ended_at"] is not None,
        f"attempt {attempts} is noted",
    )


async def change(world: World, assignments: str, run_id: UUID | None = None) -> None:
    """Change the row of one delivery, or all of them; time moves in the database, not in the test."""
    async with world.engine.pool.connection() as connection:
        statement = f"update webhook_deliveries set {assignments} where %s::uuid is null or run_id = %s"
        await connection.execute(statement.encode(), [run_id, run_id])


def outcomes(delivery: Delivery) -> list[tuple[int, int | None, str | None]]:
    return [(each["attempt"], each["status_code"], each["error"]) for each in delivery.attempt_log]


@pytest.mark.parametrize("secret", [NEW, OLD])
async def test_a_receiver_that_knows_one_of_the_secrets_verifies_the_webhook(
    world: World, receiver: Receiver, secret: str
) -> None:
    run_id = await owe(world, receiver.url)
    delivery = await until_status(world, run_id, "delivered")
    taken = Webhook(secret).verify(receiver.raw[0], receiver.headers[0])
    assert taken["run_id"] == str(run_id)
    assert receiver.headers[0]["webhook-id"] == str(delivery.webhook_id)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(receiver.raw[0] + b" ", receiver.headers[0])
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + base64.b64encode(b"x" * 32).decode()).verify(receiver.raw[0], receiver.headers[0])


async def test_without_a_secret_a_webhook_has_its_id_and_no_signature(
    database: Database, registry: Registry, receiver: Receiver
) -> None:
    async with open_world(database, registry, webhooks=HERE) as world:
        delivery = await until_status(world, await owe(world, receiver.url), "delivered")
    assert receiver.headers[0]["webhook-id"] == str(delivery.webhook_id)
    assert "webhook-signature" not in receiver.headers[0]


def test_the_keys_are_in_no_text() -> None:
    assert "n" * 8 not in repr(make_signer([NEW]))
    assert Signer().headers(uuid4(), datetime.now(UTC), b"").keys() == {"webhook-id", "webhook-timestamp"}


async def test_each_attempt_is_noted_and_has_the_same_id_and_a_signature_of_its_own(
    world: World, receiver: Receiver
) -> None:
    receiver.answers = [503, 404]
    run_id = await owe(world, receiver.url)
    for attempts in (1, 2):
        postponed = await until_postponed(world, run_id, attempts)
        assert (postponed.status, postponed.due_at is not None) == ("pending", True)
        await change(world, "due_at = clock_timestamp()")
    delivery = await until_status(world, run_id, "delivered")
    assert outcomes(delivery) == [(1, 503, "answered 503"), (2, 404, "answered 404"), (3, 200, None)]
    assert (delivery.attempts, delivery.error, delivery.due_at) == (3, None, None)
    assert delivery.delivered_at is not None
    for body, headers in zip(receiver.raw, receiver.headers, strict=True):
        assert headers["webhook-id"] == str(delivery.webhook_id)
        Webhook(NEW).verify(body, headers)


async def test_what_nobody_answers_is_noted_with_its_reason(world: World, receiver: Receiver) -> None:
    run_id = await owe(world, "http://127.0.0.1:9/nobody-listens")
    delivery = await until_postponed(world, run_id)
    ((attempt, status_code, error),) = outcomes(delivery)
    assert (attempt, status_code) == (1, None)
    assert error
    assert error == delivery.error


async def test_an_endpoint_that_is_gone_is_given_up_at_once(world: World, receiver: Receiver) -> None:
    receiver.answers = [410]
    delivery = await until_status(world, await owe(world, receiver.url), "dead")
    assert (outcomes(delivery), delivery.error) == ([(1, 410, "answered 410")], "answered 410")
    assert (delivery.due_at, delivery.died_at is not None) == (None, True)


@pytest.mark.parametrize(("asked", "seconds"), [("120", 120.0), ("86400", LONGEST_RETRY_AFTER)])
async def test_an_endpoint_is_left_alone_as_long_as_it_asks_within_bounds(
    world: World, receiver: Receiver, asked: str, seconds: float
) -> None:
    receiver.answers, receiver.retry_after = [429], asked
    delivery = await until_postponed(world, await owe(world, receiver.url))
    assert delivery.due_at is not None
    wait = delivery.due_at - datetime.fromisoformat(delivery.attempt_log[0]["ended_at"])
    assert abs(wait.total_seconds() - seconds) < 1


def test_a_wait_is_read_as_seconds_or_as_a_date() -> None:
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    read = {"7": 7.0, " 0 ": 0.0, "Thu, 01 Jan 2026 12:01:00 GMT": 60.0, "Thu, 01 Jan 2026 11:00:00 GMT": 0.0}
    assert {text: read_retry_after(text, now) for text in read} == read
    for nonsense in (None, "", "soon", "-1", "1.5", "nan", "٣"):
        assert read_retry_after(nonsense, now) is None
    assert read_retry_after("9" * 400, now) == float("inf")


def test_pauses_grow_and_are_never_shorter_than_their_own() -> None:
    assert 0.8 <= pause(1, None) <= 1.2
    assert pause(MAX_ATTEMPTS, None) >= LONGEST_PAUSE * 0.8
    assert pause(11, 5.0) > 5
    assert pause(1, float("inf")) == LONGEST_RETRY_AFTER


async def test_what_was_given_up_is_delivered_when_somebody_says_so(world: World, receiver: Receiver) -> None:
    receiver.answers = [410, 500]
    run_id = await owe(world, receiver.url)
    dead = await until_status(world, run_id, "dead")
    again = await world.engine.webhooks.deliveries.redeliver(dead.webhook_id)
    assert (again.status, again.died_at) == ("pending", None)
    await until_postponed(world, run_id, 2)
    await change(world, "due_at = clock_timestamp()")
    delivery = await until_status(world, run_id, "delivered")
    assert [outcome[1] for outcome in outcomes(delivery)] == [410, 500, 200]
    assert {headers["webhook-id"] for headers in receiver.headers} == {str(dead.webhook_id)}
    await change(world, f"last_attempt = {MAX_ATTEMPTS}")
    await world.engine.webhooks.deliveries.redeliver(dead.webhook_id)
    await until(lambda: len(receiver.bodies) == 4, "what was delivered is delivered once more")


async def test_one_that_is_started_anew_has_all_its_attempts_before_it(world: World, receiver: Receiver) -> None:
    receiver.answers = [500] * 3
    run_id = await owe(world, receiver.url)
    await until_postponed(world, run_id)
    await change(world, f"attempts = {MAX_ATTEMPTS - 1}, due_at = clock_timestamp()")
    dead = await until_status(world, run_id, "dead")
    assert dead.attempts == MAX_ATTEMPTS
    await world.engine.webhooks.deliveries.redeliver(dead.webhook_id)
    postponed = await until_postponed(world, run_id, MAX_ATTEMPTS + 1)
    assert postponed.due_at is not None
    wait = postponed.due_at - datetime.fromisoformat(postponed.attempt_log[-1]["ended_at"])
    assert wait < timedelta(seconds=5)


async def test_one_that_is_being_tried_is_not_started_beside_itself(world: World, receiver: Receiver) -> None:
    receiver.gate.clear()
    run_id = await owe(world, receiver.url)
    await until(lambda: receiver.bodies, "the webhook arrives")
    delivery = await delivery_of(world, run_id)
    with pytest.raises(DeliveryUnderWay, match="being tried at this moment"):
        await world.engine.webhooks.deliveries.redeliver(delivery.webhook_id)
    receiver.gate.set()
    await until_status(world, run_id, "delivered")
    assert len(receiver.bodies) == 1


async def test_an_attempt_whose_process_died_is_told_as_lost(
    database: Database, registry: Registry, receiver: Receiver
) -> None:
    receiver.gate.clear()
    async with open_world(database, registry, webhooks=HERE) as first:
        run_id = await owe(first, receiver.url)
        await until(lambda: receiver.bodies, "the webhook arrives")
    receiver.gate.set()  # when nobody listens any more
    async with open_world(database, registry, webhooks=HERE, executes=False) as second:
        await change(second, "due_at = clock_timestamp(), taken_until = clock_timestamp()")
        delivery = await until_status(second, run_id, "delivered")
    lost, taken = outcomes(delivery)
    assert lost[:2] == (1, None)
    assert str(lost[2]).startswith("nothing was noted")
    assert taken == (2, 200, None)


async def test_deliveries_are_found_by_their_status_run_and_thread(world: World, receiver: Receiver) -> None:
    receiver.answers = [410]
    dead = await owe(world, receiver.url)
    await until_status(world, dead, "dead")
    fine = await owe(world, receiver.url)
    await until_status(world, fine, "delivered")
    deliveries = world.engine.webhooks.deliveries
    assert [each.run_id for each in await deliveries.search()] == [fine, dead]
    assert [each.run_id for each in await deliveries.search(limit=1, offset=1)] == [dead]
    assert [each.run_id for each in await deliveries.search(status="dead")] == [dead]
    assert [each.run_id for each in await deliveries.search(status="delivered")] == [fine]
    assert await deliveries.search(status="pending") == []
    found = await deliveries.search(run_id=dead)
    assert await deliveries.search(thread_id=found[0].thread_id) == found
    assert await deliveries.get(found[0].webhook_id) == found[0]
    with pytest.raises(DeliveryNotFound):
        await deliveries.get(uuid4())


async def test_what_is_settled_is_swept_after_its_days(world: World, receiver: Receiver) -> None:
    receiver.answers = [410]
    dead = await owe(world, receiver.url)
    await until_status(world, dead, "dead")
    fine = await owe(world, receiver.url)
    await until_status(world, fine, "delivered")
    sweep = Sweep(world.engine.pool, Keeping(settled=timedelta(days=1), dead=timedelta(days=3)))
    deliveries = world.engine.webhooks.deliveries
    left = []
    for age in (0, 2, 4):
        aged = f"delivered_at = delivered_at - interval '{age} days', died_at = died_at - interval '{age} days'"
        await change(world, aged)
        await sweep.sweep()
        left.append([each.run_id for each in await deliveries.search()])
    assert left == [[fine, dead], [dead], []]


@pytest.mark.parametrize("how", ["delete", "prune"])
async def test_what_became_of_webhooks_goes_with_their_thread(world: World, receiver: Receiver, how: str) -> None:
    run_id = await owe(world, receiver.url)
    delivery = await until_status(world, run_id, "delivered")
    receiver.answers = [500]
    second = await owe(world, receiver.url, thread_id=delivery.thread_id)
    await until_postponed(world, second)
    if how == "delete":
        await world.engine.threads.delete(delivery.thread_id)
    else:
        await world.engine.retention.prune([delivery.thread_id], TtlStrategy.DELETE)
    deliveries = world.engine.webhooks.deliveries
    assert [each.run_id for each in await deliveries.search()] == [second]
    await change(world, "due_at = clock_timestamp()")

    async def is_gone() -> bool:
        return await deliveries.search() == []

    await until(is_gone, "what was still owed is delivered, and goes, too")
    assert [body["run_id"] for body in receiver.bodies] == [str(run_id), str(second), str(second)]


async def test_deliveries_of_stateless_runs_outlive_the_sweep_of_their_threads(
    world: World, receiver: Receiver
) -> None:
    run_id = await owe(world, receiver.url, hidden_thread=True)
    await until_status(world, run_id, "delivered")
    async with world.engine.pool.connection() as connection:
        await connection.execute("update threads set expires_at = clock_timestamp()")
    await Sweep(world.engine.pool).sweep()
    assert (await delivery_of(world, run_id)).status == "delivered"


CLAIM_OF_THE_RELEASE_BEFORE = """
    with due as (
        select delivery_id from webhook_deliveries
        where died_at is null and due_at <= clock_timestamp() + interval '1 year'
        order by due_at limit 10 for update skip locked
    )
    update webhook_deliveries d
    set attempts = d.attempts + 1, due_at = clock_timestamp() + interval '1 minute'
    from due where d.delivery_id = due.delivery_id
    returning d.run_id
"""


async def test_the_release_before_leaves_what_is_settled_alone(world: World, receiver: Receiver, pool: Pool) -> None:
    run_id = await owe(world, receiver.url)
    await until_status(world, run_id, "delivered")
    async with pool.connection() as connection:
        cursor = await connection.execute(CLAIM_OF_THE_RELEASE_BEFORE)
        assert await cursor.fetchall() == []
        cursor = await connection.execute(
            "select extract(epoch from min(due_at) - clock_timestamp()) from webhook_deliveries where died_at is null"
        )
        assert await cursor.fetchone() == (None,)


@pytest.mark.parametrize("number", [0, 1])
async def test_the_code_of_the_guide_verifies_what_comes(world: World, receiver: Receiver, number: int) -> None:
    codes = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/webhooks.md").read_text(), flags=re.M | re.S)
    assert len(codes) == 2
    written: dict[str, Any] = {}
    exec(codes[number], written)
    run_id = await owe(world, receiver.url)
    await until_status(world, run_id, "delivered")
    body, headers = receiver.raw[0], receiver.headers[0]
    for secret in (NEW, OLD):
        assert written["receive"](secret, headers, body)["run_id"] == str(run_id)
    for changed in (body.replace(b"success", b"failure"), b""):
        with pytest.raises((ValueError, WebhookVerificationError)):
            written["receive"](NEW, headers, changed)
    with pytest.raises((ValueError, WebhookVerificationError)):
        written["receive"](NEW, headers | {"webhook-timestamp": "1700000000"}, body)
