"""LangGraph's `RemoteGraph` as the client: a graph of this process that calls a graph of ours as one of its nodes."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphInterrupt
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.pregel import Pregel
from langgraph.pregel.remote import RemoteException, RemoteGraph
from langgraph.types import Command
from langgraph_sdk import get_client, get_sync_client
from langgraph_sdk.client import LangGraphClient

HELLO: Any = {"messages": [{"role": "user", "content": "hello there"}]}


@pytest.fixture
async def client(url: str) -> AsyncIterator[LangGraphClient]:
    """With `RemoteGraph(name, url=...)` the client is made for you; one of our own is closed behind the test."""
    async with get_client(url=url, api_key=None) as client:
        yield client


@pytest.fixture
def on_a_thread() -> RunnableConfig:
    """The remote thread is named like a local one; it is made with its first run."""
    return {"configurable": {"thread_id": str(uuid4())}}


def calling(remote: RemoteGraph) -> Pregel[Any, Any, Any, Any]:
    """Return a local graph with the remote one as its node, and a checkpointer for itself."""
    graph = StateGraph(MessagesState).add_node("remote", remote).add_edge(START, "remote").add_edge("remote", END)
    return graph.compile(checkpointer=InMemorySaver())


async def test_a_remote_graph_is_invoked_like_a_local_one(client: LangGraphClient) -> None:
    remote = RemoteGraph("chatting", client=client)
    values = await remote.ainvoke(HELLO)
    assert [message["content"] for message in values["messages"]] == ["hello there", "You said hello there"]


async def test_a_remote_graph_takes_message_objects_as_its_input(client: LangGraphClient) -> None:
    remote = RemoteGraph("chatting", client=client)
    values = await remote.ainvoke({"messages": [HumanMessage("hello there")]})
    assert values["messages"][-1]["content"] == "You said hello there"


async def test_a_remote_graph_streams_what_is_asked_for(client: LangGraphClient) -> None:
    remote: Any = RemoteGraph("counting", client=client)
    told = [part async for part in remote.astream({"upto": 3}, stream_mode="custom")]
    assert told == [{"counted": 1}, {"counted": 2}, {"counted": 3}]
    modes = [part.event async for part in remote.astream({"upto": 1}, stream_mode=["custom", "updates"])]
    assert modes == ["custom", "updates"]


async def test_a_remote_graph_streams_tokens(client: LangGraphClient) -> None:
    remote: Any = RemoteGraph("chatting", client=client)
    tokens = [chunk["content"] async for chunk, _ in remote.astream(HELLO, stream_mode="messages")]
    assert tokens == ["You", " ", "said", " ", "hello", " ", "there"]


async def test_tokens_of_a_remote_subgraph_are_streamed_when_asked_for(client: LangGraphClient) -> None:
    remote: Any = RemoteGraph("delegating", client=client)
    parts = [part async for part in remote.astream(HELLO, stream_mode="messages", subgraphs=True)]
    assert [(bool(namespace), chunk["content"]) for namespace, (chunk, _) in parts][:2] == [(True, "You"), (True, " ")]
    whole = [chunk["content"] async for chunk, _ in remote.astream(HELLO, stream_mode="messages")]
    assert whole == ["You said hello there"]


async def test_events_of_a_remote_subgraph_carry_its_namespace(client: LangGraphClient) -> None:
    remote = RemoteGraph("delegating", client=client)
    parts = [part async for part in remote.astream(HELLO, stream_mode="updates", subgraphs=True)]
    assert [(bool(namespace), list(update)) for namespace, update in parts] == [(True, ["answer"]), (False, ["inner"])]


async def test_a_remote_thread_remembers_what_was_said(client: LangGraphClient, on_a_thread: RunnableConfig) -> None:
    remote = RemoteGraph("chatting", client=client)
    await remote.ainvoke(HELLO, on_a_thread)
    values = await remote.ainvoke(HELLO, on_a_thread)
    assert len(values["messages"]) == 4


async def test_a_remote_graph_is_a_node_of_a_local_graph(client: LangGraphClient, on_a_thread: RunnableConfig) -> None:
    graph = calling(RemoteGraph("chatting", client=client))
    values = await graph.ainvoke(HELLO, on_a_thread)
    assert [message.text for message in values["messages"]] == ["hello there", "You said hello there"]


async def test_events_of_a_remote_node_appear_in_the_local_stream(
    client: LangGraphClient, on_a_thread: RunnableConfig
) -> None:
    graph = calling(RemoteGraph("chatting", client=client))
    seen = [part async for part in graph.astream(HELLO, on_a_thread, stream_mode="updates", subgraphs=True)]
    assert [(namespace[0].split(":")[0] if namespace else "", list(update)) for namespace, update in seen] == [
        ("remote", ["answer"]),
        ("", ["remote"]),
    ]


async def test_an_interrupt_in_a_remote_node_stops_the_local_graph(
    client: LangGraphClient, on_a_thread: RunnableConfig
) -> None:
    # The remote thread is the node's own: the local thread_id is kept from it, so it is bound here.
    remote = RemoteGraph("approving", client=client).with_config({"configurable": {"thread_id": str(uuid4())}})
    graph = calling(remote)
    stopped = await graph.ainvoke(HELLO, on_a_thread)
    [question] = stopped["__interrupt__"]
    assert question.value == {"question": "Send 'hello there'?"}
    assert (await graph.aget_state(on_a_thread)).next == ("remote",)


async def test_a_question_asked_directly_is_answered_with_a_command(
    client: LangGraphClient, on_a_thread: RunnableConfig
) -> None:
    remote = RemoteGraph("approving", client=client)
    asked = await remote.ainvoke(HELLO, on_a_thread)
    assert asked["__interrupt__"][0]["value"] == {"question": "Send 'hello there'?"}
    paused = await remote.aget_state(on_a_thread)
    assert paused.next == ("ask",)
    assert [interrupt.value for interrupt in paused.tasks[0].interrupts] == [{"question": "Send 'hello there'?"}]
    answered = await remote.ainvoke(Command(resume="yes"), on_a_thread)
    assert answered["messages"][-1]["content"] == "Decided: yes"


async def test_a_breakpoint_stops_before_a_remote_node(client: LangGraphClient, on_a_thread: RunnableConfig) -> None:
    remote = RemoteGraph("chatting", client=client)
    await remote.ainvoke(HELLO, on_a_thread, interrupt_before=["answer"])
    assert (await remote.aget_state(on_a_thread)).next == ("answer",)
    values = await remote.ainvoke(None, on_a_thread)
    assert values["messages"][-1]["content"] == "You said hello there"


async def test_the_failure_of_a_remote_graph_is_raised_with_its_text(client: LangGraphClient) -> None:
    with pytest.raises(RemoteException, match="kaboom"):
        await RemoteGraph("failing", client=client).ainvoke(HELLO)


async def test_a_remote_interrupt_is_an_exception_to_the_node_around_it(
    client: LangGraphClient, on_a_thread: RunnableConfig
) -> None:
    remote = RemoteGraph("approving", client=client).with_config({"configurable": {"thread_id": str(uuid4())}})
    raised: list[GraphInterrupt] = []

    async def call(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        try:
            return {"messages": (await remote.ainvoke(dict(state), config))["messages"]}
        except GraphInterrupt as error:
            raised.append(error)
            raise

    graph = StateGraph(MessagesState).add_node("call", call).add_edge(START, "call")
    await graph.compile(checkpointer=InMemorySaver()).ainvoke(HELLO, on_a_thread)
    assert raised[0].args[0][0].value == {"question": "Send 'hello there'?"}


async def test_remote_state_is_read_changed_and_listed(client: LangGraphClient, on_a_thread: RunnableConfig) -> None:
    remote = RemoteGraph("counting", client=client)
    await remote.ainvoke({"upto": 2}, on_a_thread)
    assert (await remote.aget_state(on_a_thread)).values == {"upto": 2, "counted": [1, 2]}
    written = await remote.aupdate_state(on_a_thread, {"counted": [99]}, as_node="count")
    assert (await remote.aget_state(written)).values["counted"] == [1, 2, 99]
    states = [state async for state in remote.aget_state_history(on_a_thread)]
    assert [state.values.get("counted") for state in states][:2] == [[1, 2, 99], [1, 2]]
    [older] = [state async for state in remote.aget_state_history(on_a_thread, before=written, limit=1)]
    assert (await remote.aget_state(older.config)).values["counted"] == [1, 2]


async def test_a_remote_run_forks_from_an_older_state(client: LangGraphClient, on_a_thread: RunnableConfig) -> None:
    remote = RemoteGraph("counting", client=client)
    await remote.ainvoke({"upto": 2}, on_a_thread)
    states = [state async for state in remote.aget_state_history(on_a_thread)]
    before = next(state for state in states if state.next == ("count",))
    assert (await remote.ainvoke(None, before.config))["counted"] == [1, 2]


async def test_a_remote_graph_is_drawn_with_its_subgraphs(client: LangGraphClient) -> None:
    remote = RemoteGraph("delegating", client=client)
    assert set((await remote.aget_graph()).nodes) == {"__start__", "inner", "__end__"}
    assert "inner:answer" in (await remote.aget_graph(xray=True)).nodes
    mermaid = (await remote.aget_graph()).draw_mermaid()
    assert "inner" in mermaid


def test_the_blocking_methods_do_the_same(url: str, on_a_thread: RunnableConfig) -> None:
    with get_sync_client(url=url, api_key=None) as client:
        remote = RemoteGraph("counting", sync_client=client)
        assert remote.invoke({"upto": 2}, on_a_thread) == {"upto": 2, "counted": [1, 2]}
        assert list(remote.stream({"upto": 1}, stream_mode="custom")) == [{"counted": 1}]
        assert remote.get_state(on_a_thread).values["counted"] == [1, 2]
        assert "count" in remote.get_graph().nodes
        remote.update_state(on_a_thread, {"counted": [3]})
        assert next(state.values.get("counted") for state in remote.get_state_history(on_a_thread)) == [1, 2, 3]
