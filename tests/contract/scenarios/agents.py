"""Owns the calls of other agents: MCP's tools, A2A's messages and cards."""

from typing import Any

from threadline.tests.contract.catalogue import Caller, scenario, scenario_alone
from threadline.tests.contract.scenarios.assistants import system_id

ACCEPT = {"accept": "application/json, text/event-stream"}
CLIENT = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
UNKNOWN = "01a00000-0000-4000-8000-000000000000"


async def mcp(c: Caller, method: str, params: Any = None, **extra: Any) -> Any:
    """Send a request to the MCP server, and return what it answers."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}} | extra
    return (await c.post("/mcp", body, headers=ACCEPT)).json()


async def a2a(c: Caller, graph: str, method: str, **params: Any) -> Any:
    """Send a request to a graph's A2A server, and return what it answers."""
    body = {"jsonrpc": "2.0", "id": "1", "method": method, "params": params}
    return (await c.post(f"/a2a/{system_id(graph)}", body, headers={"accept": "application/json"})).json()


def said(text: str, **extra: Any) -> dict[str, Any]:
    """Return a message of a user."""
    return {"role": "user", "kind": "message", "messageId": "m1", "parts": [{"kind": "text", "text": text}], **extra}


@scenario
async def the_mcp_server_introduces_itself(c: Caller) -> None:
    await mcp(c, "initialize", CLIENT)
    await c.post("/mcp", {"jsonrpc": "2.0", "method": "notifications/initialized"}, headers=ACCEPT)
    await mcp(c, "ping")


@scenario_alone
async def the_mcp_server_lists_its_tools(c: Caller) -> None:
    await mcp(c, "tools/list")


@scenario
async def a_tool_is_called(c: Caller) -> None:
    await mcp(c, "tools/call", {"name": "steps", "arguments": {"n": 1}})
    await mcp(c, "tools/call", {"name": "failing", "arguments": {"n": 1}})
    await mcp(c, "tools/call", {"name": "asking", "arguments": {"n": 1}})
    await mcp(c, "tools/call", {"name": "nobody", "arguments": {}})
    await mcp(c, "tools/call", {})


@scenario
async def the_mcp_server_refuses_nonsense(c: Caller) -> None:
    await mcp(c, "dance")
    await mcp(c, "resources/list")
    await c.post("/mcp", [], headers=ACCEPT)
    await c.http.post("/mcp", content=b"{broken", headers=ACCEPT | {"content-type": "application/json"})
    await c.get("/mcp", headers=ACCEPT)
    await c.delete("/mcp")


@scenario
async def an_agent_has_a_card(c: Caller) -> None:
    assistant_id = system_id("chat")
    await c.get(f"/a2a/{assistant_id}/.well-known/agent-card.json")
    await c.get(f"/.well-known/agent-card.json?assistant_id={assistant_id}")
    await c.get("/.well-known/agent-card.json")
    await c.get(f"/.well-known/agent-card.json?assistant_id={UNKNOWN}")
    await c.get(f"/a2a/{assistant_id}")


@scenario
async def an_agent_is_spoken_to(c: Caller) -> None:
    answer = await a2a(c, "echo", "message/send", message=said("hello"))
    task = answer["result"]
    await a2a(c, "echo", "tasks/get", id=task["id"], contextId=task["contextId"])
    await a2a(c, "echo", "tasks/get", id=task["id"])
    await a2a(c, "echo", "message/send", message=said("again", messageId="m2", contextId=task["contextId"]))
    await a2a(c, "echo", "tasks/cancel", id=task["id"])


@scenario
async def an_agent_streams_its_answer(c: Caller) -> None:
    body = {"jsonrpc": "2.0", "id": "1", "method": "message/stream", "params": {"message": said("hello")}}
    await c.post(f"/a2a/{system_id('echo')}", body, headers={"accept": "text/event-stream"})


@scenario
async def an_agent_is_spoken_to_in_the_newer_vocabulary(c: Caller) -> None:
    message = {"role": "ROLE_USER", "messageId": "m1", "parts": [{"text": "hello"}]}
    answer = await a2a(c, "echo", "SendMessage", message=message)
    task = answer.get("result", {}).get("task", {})
    await a2a(c, "echo", "GetTask", id=task.get("id"))


@scenario
async def an_agent_refuses_nonsense(c: Caller) -> None:
    await a2a(c, "echo", "dance")
    await a2a(c, "echo", "message/send")
    await a2a(c, "echo", "tasks/get", id="zzz")
    await a2a(c, "echo", "tasks/get", id=f"{UNKNOWN}:{UNKNOWN}")
    await a2a(c, "echo", "tasks/cancel", id=f"{UNKNOWN}:{UNKNOWN}")
    await a2a(c, "steps", "message/send", message=said("hello"))
    await c.post(f"/a2a/{UNKNOWN}", {"jsonrpc": "2.0", "id": "1", "method": "message/send", "params": {}})
    await c.http.post(f"/a2a/{system_id('echo')}", content=b"{broken", headers={"content-type": "application/json"})
