"""Owns the calls of the event-streaming protocol: commands, and the events they lead to."""

from typing import Any
from uuid import uuid4

from threadline.tests.contract.catalogue import Caller, scenario
from threadline.tests.contract.exchanges import Exchange

SAID: dict[str, Any] = {"messages": [{"role": "user", "content": "hi", "id": "said"}]}
CHANNELS = ["values", "updates", "messages", "lifecycle", "input", "custom", "tasks", "checkpoints", "tools"]


def has_ended(exchange: Exchange) -> bool:
    """Whether the root of a run has told its end."""
    for event in exchange.events():
        data = event.get("data")
        if event.get("event") == "lifecycle" and isinstance(data, dict):
            params = data["params"]
            if params["namespace"] == [] and params["data"]["event"] in ("completed", "failed", "interrupted"):
                return True
    return False


class Session:
    """A thread that is spoken to in commands."""

    def __init__(self, c: Caller) -> None:
        self._c = c
        self._count = 0
        self.thread_id = str(uuid4())

    async def command(self, method: str, **params: Any) -> Any:
        """Send a command and return what is answered."""
        self._count += 1
        body = {"id": self._count, "method": method, "params": params}
        return (await self._c.post(f"/threads/{self.thread_id}/commands", body)).json()

    async def run(self, graph: str, **params: Any) -> None:
        """Start a run and wait until it has ended."""
        answer = await self.command("run.start", assistant_id=graph, **params)
        await self.ended(answer["result"]["run_id"])

    async def ended(self, run_id: str) -> None:
        await self._c.ended(self.thread_id, run_id)
        await self._c.until(f"/threads/{self.thread_id}", lambda thread: thread["status"] != "busy")

    async def events(self, *channels: str, **body: Any) -> None:
        """Read the events up to the end of a run."""
        path = f"/threads/{self.thread_id}/stream/events"
        await self._c.events(path, method="POST", json={"channels": channels or CHANNELS, **body}, until=has_ended)


@scenario
async def a_run_is_started_by_a_command(c: Caller) -> None:
    session = Session(c)
    await session.run("steps", input={"n": 1})
    await c.get(f"/threads/{session.thread_id}")
    await c.get(f"/threads/{session.thread_id}/state")
    await session.events()


@scenario
async def only_the_channels_that_were_asked_for_are_sent(c: Caller) -> None:
    session = Session(c)
    await session.run("steps", input={"n": 1})
    await session.events("lifecycle")
    await session.events("values", "lifecycle")
    await session.events("lifecycle", "custom:mine")


@scenario
async def messages_are_sent_in_parts(c: Caller) -> None:
    session = Session(c)
    await session.run("chat", input=SAID)
    await session.events("messages", "lifecycle")
    await session.events("values", "lifecycle")


@scenario
async def a_subgraph_has_a_life_of_its_own(c: Caller) -> None:
    session = Session(c)
    await session.run("nested", input={"n": 1})
    await session.events("lifecycle")
    await session.events("values", "lifecycle")


@scenario
async def a_failed_run_says_so(c: Caller) -> None:
    session = Session(c)
    await session.run("failing", input={"n": 1})
    await session.events("lifecycle", "values")


@scenario
async def a_question_is_asked_by_an_event_and_answered_by_a_command(c: Caller) -> None:
    session = Session(c)
    await session.run("asking", input={"n": 1})
    await session.events("lifecycle", "input", "values")
    [[asked]] = (await c.quiet.get(f"/threads/{session.thread_id}")).json()["interrupts"].values()
    await session.command("input.respond", namespace=[], interrupt_id=asked["id"], response="yes")
    await c.until(f"/threads/{session.thread_id}", lambda thread: thread["status"] == "idle")
    await c.get(f"/threads/{session.thread_id}/state")
    await session.command("input.respond", namespace=[], interrupt_id=asked["id"], response="again")


@scenario
async def commands_of_nonsense_are_refused(c: Caller) -> None:
    session = Session(c)
    path = f"/threads/{session.thread_id}/commands"
    await session.command("run.start")
    await session.command("run.start", assistant_id="nobody")
    await session.command("run.start", assistant_id=3)
    await session.command("dance")
    await session.command("input.respond", namespace=[], interrupt_id="zz", response=1)
    await session.command("subscription.unsubscribe", subscription_id="zz")
    await c.post_each(path, {"method": "run.start"}, {"id": "x", "method": "run.start"}, {"id": 5}, [], {})
    await c.http.post(path, content=b"{broken")
    await c.post("/threads/zzz/commands", {"id": 1, "method": "run.start", "params": {"assistant_id": "steps"}})


@scenario
async def event_streams_of_nonsense_are_refused(c: Caller) -> None:
    thread_id = await c.thread()
    path = f"/threads/{thread_id}/stream/events"
    await c.post_each(
        path,
        {},
        {"channels": []},
        {"channels": "values"},
        {"channels": ["colours"]},
        {"channels": [3]},
        [],
    )
    await c.http.post(path, content=b"{broken")
    await c.post("/threads/zzz/stream/events", {"channels": []})


@scenario
async def events_are_taken_up_where_they_were_left(c: Caller) -> None:
    session = Session(c)
    await session.run("steps", input={"n": 1})
    read = c.transport.exchanges
    await session.events("lifecycle", "values")
    seqs = [event["data"]["seq"] for event in read[-1].events() if "data" in event]
    await session.events("lifecycle", "values", since=seqs[1])
    await session.events("lifecycle", "values", since=seqs[-2])
