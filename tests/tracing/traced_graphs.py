"""The graphs whose traces are looked at: a planner, tools and a responder, subgraphs, and careless ones."""

import asyncio
from typing import Annotated, Any, TypedDict

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode
from langgraph.runtime import Runtime
from langgraph.types import interrupt
from langsmith import traceable
from pydantic import BaseModel


class Talk(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    patience: str


def model(answer: AIMessage) -> GenericFakeChatModel:
    return GenericFakeChatModel(messages=iter([answer]))


@tool
def lookup(word: str) -> str:
    """Look a word up."""
    return f"{word} is a word"


@tool
def note(text: str) -> str:
    """Write something down, if a person agrees."""
    return f"noted {text}: {interrupt({'action': 'note', 'text': text})}"


async def planner(state: Talk) -> Talk:
    calls = [
        {"name": "lookup", "args": {"word": "oak"}, "id": "call-1"},
        {"name": "note", "args": {"text": "oak"}, "id": "call-2"},
    ]
    return {"messages": [await model(AIMessage("", tool_calls=calls)).ainvoke(state["messages"])]}


@traceable
def polish(text: str) -> str:
    return text.strip()


async def responder(state: Talk, config: RunnableConfig) -> Talk:
    if state.get("patience") == "none" and config["metadata"]["run_attempt"] == 1:
        await asyncio.Event().wait()
    answer = await model(AIMessage(" done ")).ainvoke(state["messages"])
    return {"messages": [AIMessage(polish(str(answer.content)))]}


planning = (
    StateGraph(Talk)
    .add_node(planner)
    .add_node("tools", ToolNode([lookup, note]))
    .add_node(responder)
    .add_edge(START, "planner")
    .add_edge("planner", "tools")
    .add_edge("tools", "responder")
    .compile()
)


async def ask(state: Talk) -> Talk:
    return {"messages": [AIMessage(f"answered {interrupt('sure?')}")]}


inner = StateGraph(Talk).add_node(ask).add_edge(START, "ask").compile()
outer = StateGraph(Talk).add_node("inner", inner).add_edge(START, "inner").compile()


async def step(state: Talk) -> Talk:
    return {}


quick = StateGraph(Talk).add_node(step).add_edge(START, "step").compile()


async def use_token(state: Talk, config: RunnableConfig) -> Talk:
    token = config["configurable"]["user_token"]
    return {"messages": [AIMessage(f"used {len(token)} characters")]}


async def tell_token(state: Talk, config: RunnableConfig) -> Talk:
    raise ValueError(f"bad token {config['configurable']['user_token']}")


using = StateGraph(Talk).add_node(use_token).add_edge(START, "use_token").compile()
telling = StateGraph(Talk).add_node(tell_token).add_edge(START, "tell_token").compile()


class Strict(BaseModel):
    user_token: str
    needed: int


async def never(state: Talk, runtime: Runtime[Strict]) -> Any:
    return {}


strict = StateGraph(Talk, context_schema=Strict).add_node(never).add_edge(START, "never").compile()


WIDTH = 500


async def many(state: Talk) -> Talk:
    small = RunnableLambda(lambda x: x, name="small")
    for number in range(WIDTH):
        await small.ainvoke(number)
    return {}


# WIDTH spans below those of the graph and its node.
broad = StateGraph(Talk).add_node(many).add_edge(START, "many").compile()
