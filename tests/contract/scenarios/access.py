"""Owns the calls of people who may do this and not that, and of strangers."""

from typing import Any
from uuid import uuid4

import httpx

from threadline.tests.contract.catalogue import Caller, scenario

STEPS = {"assistant_id": "steps", "input": {"n": 1}}


class Person:
    """Somebody with a name, whose calls are compared."""

    def __init__(self, c: Caller, name: str) -> None:
        self._c = c
        self._headers = {"authorization": f"Bearer {name}"}

    async def call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return await self._c.call(method, path, body, headers=self._headers)

    async def get(self, path: str) -> httpx.Response:
        return await self.call("GET", path)

    async def post(self, path: str, body: Any = None) -> httpx.Response:
        return await self.call("POST", path, body)

    async def thread(self, **body: Any) -> str:
        made = await self._c.quiet.post("/threads", json=body, headers=self._headers)
        return str(made.raise_for_status().json()["thread_id"])

    async def thread_after(self, graph: str = "steps") -> tuple[str, str]:
        """Have a thread with a run that has ended."""
        thread_id = await self.thread()
        body = {"assistant_id": graph, "input": {"n": 1}}
        path = f"/threads/{thread_id}/runs"
        made = await self._c.quiet.post(path, json=body, headers=self._headers)
        run_id = str(made.raise_for_status().json()["run_id"])
        joined = await self._c.quiet.get(f"{path}/{run_id}/join", headers=self._headers)
        joined.raise_for_status()
        return thread_id, run_id


@scenario
async def strangers_are_turned_away(c: Caller) -> None:
    for path in ("/threads", "/assistants/search", "/runs/crons/search", "/store/items/search", "/runs/wait", "/mcp"):
        await c.post(path, {})
    for path in (f"/threads/{uuid4()}", f"/threads/{uuid4()}/state", f"/assistants/{uuid4()}", "/store/items?key=a"):
        await c.get(path)
    await Person(c, "nobody").post("/threads", {})
    await c.get("/ok")
    await c.get("/nowhere")


@scenario
async def a_thread_is_its_makers(c: Caller) -> None:
    ann, ben = Person(c, "ann"), Person(c, "ben")
    made = await ann.post("/threads", {"metadata": {"topic": "a"}})
    thread_id = made.json()["thread_id"]
    for person in (ann, ben):
        await person.get(f"/threads/{thread_id}")
        await person.get(f"/threads/{thread_id}/state")
        await person.post(f"/threads/{thread_id}/history", {})
        await person.call("PATCH", f"/threads/{thread_id}", {"metadata": {"by": "somebody"}})
    await ben.call("DELETE", f"/threads/{thread_id}")
    await ann.call("DELETE", f"/threads/{thread_id}")
    await ann.get(f"/threads/{thread_id}")


@scenario
async def searches_and_counts_find_what_is_ones_own(c: Caller) -> None:
    ann, ben = Person(c, "ann"), Person(c, "ben")
    await ann.thread(metadata={"mark": "one"})
    found = {"metadata": {"mark": "one"}, "limit": 1}
    for person in (ann, ben):
        await person.post("/threads/search", found)
        await person.post("/threads/count", {"metadata": {"mark": "one"}})
    thread_id = await ben.thread(metadata={"shared": "no"})
    await ann.post("/threads/search", {"ids": [thread_id]})
    await ben.post("/threads/search", {"ids": [thread_id]})
    await ann.post("/threads/search", {"ids": [thread_id], "metadata": {"owner": "ben"}})


@scenario
async def runs_are_of_whoever_has_the_thread(c: Caller) -> None:
    ann, ben = Person(c, "ann"), Person(c, "ben")
    thread_id, run_id = await ann.thread_after()
    for person in (ann, ben):
        await person.get(f"/threads/{thread_id}/runs")
        await person.get(f"/threads/{thread_id}/runs/{run_id}")
    await ben.get(f"/threads/{thread_id}/runs/{run_id}/join")
    await ben.post(f"/threads/{thread_id}/runs", STEPS)
    await ben.post(f"/threads/{thread_id}/runs/wait", STEPS)
    await ben.post(f"/threads/{thread_id}/runs/{run_id}/cancel")
    await ben.call("DELETE", f"/threads/{thread_id}/runs/{run_id}")
    await ben.post(f"/threads/{thread_id}/state", {"values": {"n": 9}, "as_node": "count"})
    await ann.post(f"/threads/{thread_id}/runs/wait", STEPS)
    await ann.post("/runs/wait", STEPS)


@scenario
async def a_run_makes_a_thread_that_is_its_makers(c: Caller) -> None:
    ann, ben = Person(c, "ann"), Person(c, "ben")
    thread_id = str(uuid4())
    await ann.post(f"/threads/{thread_id}/runs/wait", {**STEPS, "if_not_exists": "create"})
    await ann.get(f"/threads/{thread_id}/state")
    await ben.get(f"/threads/{thread_id}/state")
    await ben.post(f"/threads/{thread_id}/runs/wait", {**STEPS, "if_not_exists": "create"})


@scenario
async def guests_only_look(c: Caller) -> None:
    guest = Person(c, "guest")
    await guest.post("/threads", {})
    await guest.post("/threads/search", {})
    await guest.post("/threads/count", {})
    await guest.get(f"/threads/{uuid4()}")
    await guest.post(f"/threads/{uuid4()}/runs", {**STEPS, "if_not_exists": "create"})
    await guest.post("/assistants", {"graph_id": "steps"})
    await guest.post("/runs/crons", {"assistant_id": "steps", "schedule": "0 0 1 1 *"})
    await guest.call("PUT", "/store/items", {"namespace": ["a"], "key": "k", "value": {}})


@scenario
async def an_assistant_is_its_makers(c: Caller) -> None:
    ann, ben = Person(c, "ann"), Person(c, "ben")
    made = await ann.post("/assistants", {"graph_id": "steps", "name": "Ann's", "metadata": {"mark": "hers"}})
    assistant_id = made.json()["assistant_id"]
    for person in (ann, ben):
        await person.get(f"/assistants/{assistant_id}")
        await person.post(f"/assistants/{assistant_id}/versions", {})
        await person.post("/assistants/search", {"metadata": {"mark": "hers"}, "limit": 1})
        await person.call("PATCH", f"/assistants/{assistant_id}", {"name": "Changed"})
    await ben.post("/runs/wait", {"assistant_id": assistant_id, "input": {"n": 1}})
    await ben.call("DELETE", f"/assistants/{assistant_id}")
    await ann.post("/runs/wait", {"assistant_id": assistant_id, "input": {"n": 1}})
    await ann.call("DELETE", f"/assistants/{assistant_id}")


@scenario
async def a_cron_is_its_makers(c: Caller) -> None:
    ann, ben = Person(c, "ann"), Person(c, "ben")
    cron = {"assistant_id": "steps", "schedule": "0 0 1 1 *", "input": {"n": 1}, "metadata": {"mark": "cron"}}
    made = await ann.post("/runs/crons", cron)
    cron_id = made.json()["cron_id"]
    for person in (ann, ben):
        await person.post("/runs/crons/search", {"metadata": {"mark": "cron"}})
        await person.post("/runs/crons/count", {"metadata": {"mark": "cron"}})
        await person.get(f"/runs/crons/{cron_id}")
        await person.call("PATCH", f"/runs/crons/{cron_id}", {"enabled": False})
    await ben.call("DELETE", f"/runs/crons/{cron_id}")
    await ann.call("DELETE", f"/runs/crons/{cron_id}")


@scenario
async def everybody_has_a_store_of_their_own(c: Caller) -> None:
    ann, ben, guest = Person(c, "ann"), Person(c, "ben"), Person(c, "guest")
    item = {"namespace": ["kept"], "key": "k", "value": {"n": 1}}
    await ann.call("PUT", "/store/items", item)
    for person in (ann, ben, guest):
        await person.get("/store/items?key=k&namespace=kept")
        await person.post("/store/items/search", {"namespace_prefix": ["kept"]})
        await person.post("/store/namespaces", {"prefix": ["kept"]})
    await ben.call("DELETE", "/store/items", {"namespace": ["kept"], "key": "k"})
    await ann.get("/store/items?key=k&namespace=kept")


@scenario
async def a_question_is_answered_by_whom_it_was_put_to(c: Caller) -> None:
    ann, ben = Person(c, "ann"), Person(c, "ben")
    thread_id, _ = await ann.thread_after("asking")
    await ben.post(f"/threads/{thread_id}/runs/wait", {"assistant_id": "asking", "command": {"resume": "no"}})
    respond = {"id": 1, "method": "input.respond", "params": {"namespace": [], "interrupt_id": "zz", "response": 1}}
    await ben.post(f"/threads/{thread_id}/commands", respond)
    await ann.post(f"/threads/{thread_id}/runs/wait", {"assistant_id": "asking", "command": {"resume": "yes"}})
