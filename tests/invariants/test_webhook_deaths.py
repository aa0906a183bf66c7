"""A webhook outlives the processes that deliver it, under one id, and every attempt is accounted for."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from threadline.runs.webhook_policy import WebhookPolicy
from threadline.tests.laboratory.laboratory import Laboratory
from threadline.tests.laboratory.locks import until
from threadline.tests.runs.hook_receiver import Receiver, receive_hooks

HERE = WebhookPolicy(allow_loopback=True)
RUN: dict[str, Any] = {
    **dict.fromkeys(("thread_id", "assistant_id", "metadata", "multitask_strategy", "created_at", "updated_at")),
    **dict.fromkeys(("started_at", "ended_at", "error")),
    "run_id": "x",
    "kwargs": {},
    "status": "success",
}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receive_hooks() as opened:
        yield opened


async def owe(lab: Laboratory, url: str) -> None:
    """Owe a webhook as the end of a run does, before any process is there that could deliver it."""
    await lab.rows(
        "insert into webhook_deliveries (run_id, thread_id, url, run)"
        " values (gen_random_uuid(), gen_random_uuid(), %s, %s)",
        url,
        json.dumps(RUN),
    )


async def test_a_webhook_whose_process_is_killed_is_delivered_by_another_one_under_the_same_id(
    lab: Laboratory, receiver: Receiver
) -> None:
    receiver.gate.clear()
    await owe(lab, receiver.url)
    first = await lab.start(webhooks=HERE)
    await until(lambda: receiver.bodies, "the first process delivers it")
    first.kill()
    receiver.gate.set()
    # As if its minute were over.
    await lab.rows("update webhook_deliveries set due_at = clock_timestamp(), taken_until = clock_timestamp()")
    await lab.start(webhooks=HERE)

    async def is_delivered() -> Any:
        return await lab.value("select delivered_at from webhook_deliveries")

    await until(is_delivered, "the second process delivers it")
    assert [headers["webhook-id"] for headers in receiver.headers] == [
        str(await lab.value("select webhook_id from webhook_deliveries"))
    ] * 2
    rows = await lab.rows("select attempt, status_code, error from webhook_attempts order by attempt")
    (lost, taken) = rows
    assert lost[:2] == (1, None)
    assert lost[2].startswith("nothing was noted")
    assert taken == (2, 200, None)
