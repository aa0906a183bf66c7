"""The graphs whose nodes have effects: each writes a line to a file that outlives its process."""

import asyncio
import operator
from copy import copy
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypedDict

import psycopg
from langchain_core.messages import AIMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph, add_messages
from langgraph.prebuilt import ToolNode
from langgraph.runtime import get_runtime
from langgraph.types import RetryPolicy, interrupt

from threadline.effects import EffectError, aeffect, effect, effect_key


class State(TypedDict, total=False):
    folder: str
    dsn: str
    log: Annotated[list[Any], operator.add]


class Calls(State):
    messages: Annotated[list[Any], add_messages]


def note(state: State, text: str) -> str:
    """What happens to the world; returns how often it has happened now."""
    file = Path(state["folder"]) / "world"
    with file.open("a") as lines:
        lines.write(f"{text}\n")
    return f"{text} {file.read_text().splitlines().count(text)}"


async def anote(state: State, text: str) -> str:
    await asyncio.sleep(0)
    return note(state, text)


async def pass_gate(state: State) -> None:
    while not (Path(state["folder"]) / "open").exists():  # noqa: ASYNC110  # another thread makes the file
        await asyncio.sleep(0.01)


async def retry(state: State) -> State:
    done = [await aeffect(name, partial(anote, state, name)) for name in ("book", "charge")]
    if note(state, "tried") != "tried 3":
        raise ConnectionError("again")
    return {"log": done}


def retry_in_a_thread(state: State) -> State:
    done = [effect(name, partial(note, state, name)) for name in ("book", "charge")]
    if note(state, "tried") != "tried 3":
        raise ConnectionError("again")
    return {"log": done}


async def hold(state: State) -> State:
    key = effect_key("book")
    booked = await aeffect("book", lambda: anote(state, f"booked under {key}"))
    note(state, "holding")
    await pass_gate(state)
    return {"log": [booked]}


async def hold_within(state: State) -> State:
    key = effect_key("book")

    async def book() -> str:
        note(state, "booking")
        await pass_gate(state)
        return note(state, f"booked under {key}")

    return {"log": [await aeffect("book", book)]}


async def ask(state: State) -> State:
    before = await aeffect("before", lambda: anote(state, "before"))
    answer = interrupt("go on?")
    after = await aeffect(f"after {answer}", lambda: anote(state, "after"))
    return {"log": [before, answer, after]}


async def fail_first(state: State) -> State:
    def break_down() -> str:
        if note(state, "tried") == "tried 1":
            raise ConnectionError("no answer")
        return "done"

    try:
        await aeffect("call", break_down)
    except ConnectionError:
        return {"log": [await aeffect("call", break_down)]}
    return {"log": ["not broken"]}


async def loop(state: State) -> State:
    rounds = range(3)
    made = [await aeffect(f"round-{n}", partial(anote, state, f"round {n}")) for n in rounds]
    beside = await asyncio.gather(*(aeffect(f"beside-{n}", partial(anote, state, f"beside {n}")) for n in rounds))
    return {"log": [*made, *beside]}


async def repeat(state: State) -> State:
    for _ in range(2):
        await aeffect("book", lambda: anote(state, "booked"))
    return {}


async def give(state: State) -> State:
    values: list[Any] = [None, 0, "ä", [1, {"a": b"\0"}], (1, 2), {3}]
    given = [await aeffect(f"v{n}", partial(copy, value)) for n, value in enumerate(values)]
    return {"log": [repr(value) for value in given]}


async def give_too_much(state: State) -> State:
    return {"log": [await aeffect("much", lambda: note(state, "much") and "x" * 2_000_000)]}


async def give_the_unstorable(state: State) -> State:
    return {"log": [await aeffect("odd", lambda: note(state, "odd") and object())]}


async def block(state: State) -> State:
    return {"log": [effect("block", lambda: note(state, "blocked"))]}


def forget_to_await(state: State) -> State:
    return {"log": [effect("forget", lambda: anote(state, "forgotten"))]}


def run_a_loop(state: State) -> State:
    """A plain function that runs a loop of its own, in the thread that LangGraph gives it."""

    async def work() -> list[str]:
        return [await aeffect(name, partial(anote, state, name)) for name in ("book", "charge")]

    return {"log": [*asyncio.run(work()), effect("receipt", partial(note, state, "receipt"))]}


@tool
def pay(amount: int, folder: str, call: Annotated[str, InjectedToolCallId]) -> str:
    """Pay."""
    return effect(f"pay-{call}", partial(note, {"folder": folder}, f"paid {amount}"))


@tool
async def ship(item: str, folder: str, call: Annotated[str, InjectedToolCallId]) -> str:
    """Ship."""
    return await aeffect(f"ship-{call}", partial(anote, {"folder": folder}, f"shipped {item}"))


async def plan(state: State) -> dict[str, Any]:
    """Two calls of each tool at once."""
    folder = {"folder": state["folder"]}
    calls: list[tuple[str, dict[str, Any]]] = [
        ("pay", {"amount": 1}),
        ("pay", {"amount": 2}),
        ("ship", {"item": "a"}),
        ("ship", {"item": "b"}),
    ]
    asked: Any = [{"name": name, "args": args | folder, "id": f"c{n}"} for n, (name, args) in enumerate(calls)]
    return {"messages": [AIMessage("", tool_calls=asked)]}


async def stumble(state: Calls) -> dict[str, Any]:
    """Call the tools twice in one task, as an execution and its retry would."""
    answer = await ToolNode([pay, ship]).ainvoke(state)
    if note(state, "tried") == "tried 1":
        raise ConnectionError("again")
    return {"log": [message.text for message in answer["messages"]]}


async def look(state: State) -> State:
    """Whether the checkpoint that the task starts from is committed when the effect happens."""

    def find() -> int:
        info = get_runtime().execution_info
        assert info is not None
        with psycopg.connect(state["dsn"]) as connection:
            statement = "select count(*) from checkpoints where checkpoint_id = %s"
            row = connection.execute(statement, [info.checkpoint_id]).fetchone()
            assert row is not None
            return int(row[0])

    return {"log": [await aeffect("look", lambda: asyncio.to_thread(find))]}


async def name_badly(state: State) -> State:
    refused = []
    for name in ("", "x" * 201, "a\nb", "\ud800", 7):
        try:
            await aeffect(name, lambda: anote(state, "named badly"))  # type: ignore[arg-type]  # that is the test
        except EffectError as error:
            refused.append(str(error).partition(",")[0])
    return {"log": refused}


def one(node: Any, **more: Any) -> Any:
    return StateGraph(State).add_node("node", node, **more).add_edge(START, "node").compile()


def around(inner: Any) -> Any:
    return StateGraph(State).add_node("inner", inner).add_edge(START, "inner").compile()


POLICY = RetryPolicy(max_attempts=5, initial_interval=0.01, jitter=False)

retrying = one(retry, retry_policy=POLICY)
retrying_in_a_thread = one(retry_in_a_thread, retry_policy=POLICY)
holding = one(hold)
slow = one(hold_within)
asking = one(ask)
nested = around(one(ask))
broken = one(fail_first)
looping = one(loop)
repeating = one(repeat)
giving = one(give)
too_much = one(give_too_much)
odd = one(give_the_unstorable)
blocking = one(block)
forgetful = one(forget_to_await)
looking = (
    StateGraph(State)
    .add_node("look", look)
    .add_node("again", look)
    .add_edge(START, "look")
    .add_edge("look", "again")
    .compile()
)
own_loop = one(run_a_loop)
tools = (
    StateGraph(Calls)
    .add_node("plan", plan)
    .add_node("stumble", stumble, retry_policy=POLICY)
    .add_edge(START, "plan")
    .add_edge("plan", "stumble")
    .compile()
)
badly_named = one(name_badly)
kept_nowhere = around(StateGraph(State).add_node("node", hold).add_edge(START, "node").compile(checkpointer=False))


@task
async def book(state: State, number: int) -> str:
    return await aeffect("book", lambda: anote(state, f"booked {number}"))


@entrypoint()
async def functional(state: State) -> list[str]:
    done = list(await asyncio.gather(*(book(state, number) for number in range(3))))
    return [*done, interrupt("go on?")]
