"""Owns the conversation that is measured as it grows: what is said in a turn, and the graphs that say it."""

from collections.abc import Sequence
from random import Random
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages

QUESTION, THOUGHT, ANSWER = 200, 300, 800  # characters
_SYLLABLES = ("ba", "con", "der", "est", "fin", "gra", "hol", "in", "ker", "lo", "men", "not", "or", "per", "ro", "sta")


def say(characters: int, seed: str) -> str:
    """Return text that is compressed to about half, as prose is; the same for the same seed."""
    random = Random(seed)  # noqa: S311  # nothing secret: the same text at each sitting
    text = ""
    while len(text) < characters:
        text += "".join(random.choices(_SYLLABLES, k=random.randint(1, 4))) + " "
    return text[:characters]


def question(turn: int) -> dict[str, Any]:
    """Return the input of a turn."""
    return {"messages": [HumanMessage(say(QUESTION, f"q{turn}"), id=f"q{turn}").model_dump()]}


class Chat(TypedDict):
    """The messages are one value, stored anew whenever one is added."""

    messages: Annotated[list[AnyMessage], add_messages]


def extend(messages: list[AnyMessage], writes: Sequence[list[AnyMessage]]) -> list[AnyMessage]:
    """Put what was written behind what is there."""
    return add_messages(messages, [each for write in writes for each in write])  # type: ignore[return-value, arg-type]  # a list in, a list out


class SummedChat(TypedDict):
    """The messages are a sum: what is added is stored, and all of it once in a while."""

    messages: Annotated[list[AnyMessage], DeltaChannel(extend)]


async def _think(state: Any) -> Any:
    name = f"t{len(state['messages'])}"
    return {"messages": [AIMessage(say(THOUGHT, name), id=name)]}


async def _answer(state: Any) -> Any:
    name = f"a{len(state['messages'])}"
    return {"messages": [AIMessage(say(ANSWER, name), id=name)]}


def draw(schema: Any) -> StateGraph[Any]:
    """Return the graph of one turn, not compiled yet: it thinks, then it answers."""
    drawn: StateGraph[Any] = StateGraph(schema).add_node("think", _think).add_node("answer", _answer)
    return drawn.add_edge(START, "think").add_edge("think", "answer")


chat = draw(Chat).compile()
summed_chat = draw(SummedChat).compile()
