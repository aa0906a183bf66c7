"""kill -9 of the process whose node has had effects: the next attempt has those that are left, and no other."""

import os
import signal
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from threadline.tests.laboratory.locks import until
from threadline.tests.process.deployments import Deployment


def is_at(count: Callable[[], int], number: int) -> bool:
    return count() == number


async def are_journalled(deployment: Deployment) -> bool:
    return await deployment.rows("select count(*) from effects where starts_with(name, 'pay-')") == [(3,)]


@pytest.mark.slow  # a server of its own, and a child that dies twice
async def test_effects_that_were_finished_before_a_kill_are_not_repeated(deployment: Deployment) -> None:
    server = await deployment.serve()
    project, name = deployment.project, "paid"
    async with deployment.clients() as (sdk, _):
        thread = await sdk.threads.create()
        state: dict[str, Any] = {"name": name, "gates": ["charge"]}
        run = await sdk.runs.create(thread["thread_id"], "charging", input=state)

        def payments() -> Counter[str]:
            return Counter(effect.text for effect in project.effects(name) if effect.text.endswith("made"))

        def attempts() -> int:
            return project.starts(name)["charge"]

        for attempt in (1, 2):
            await until(partial(is_at, attempts, attempt), f"attempt {attempt} begins")
            await until(lambda: payments().total() == 3, "the payments are made")
            await until(lambda: are_journalled(deployment), "the payments are journalled")
            os.kill(project.pid_of(name), signal.SIGKILL)
        await until(partial(is_at, attempts, 3), "the third attempt begins")
        project.open_gate(name, "charge")
        values = await sdk.runs.join(thread["thread_id"], run["run_id"])
    assert isinstance(values, dict)
    assert values["log"] == ["a", 4, "b"]
    assert payments() == {**{f"payment{number} made": 1 for number in range(3)}, "receipt made": 1}
    assert project.starts(name) == {"a": 1, "charge": 3, "b": 1}
    server.kill()
