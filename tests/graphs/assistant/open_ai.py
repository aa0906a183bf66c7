"""Owns a server that speaks OpenAI's chat completions and says what a test tells it to, whole or streamed."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from threadline.graphs.assistant import model


@dataclass(frozen=True)
class Reply:
    """What the model says next: a text, or calls as (tool, arguments as JSON text); `status` other than 200 fails."""

    text: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    status: int = 200

    def message(self, serial: int) -> dict[str, Any]:
        calls = [
            {"id": f"call_{serial}_{index}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for index, (name, arguments) in enumerate(self.calls)
        ]
        return {"role": "assistant", "content": self.text, **({"tool_calls": calls} if calls else {})}


@dataclass
class ScriptedModel:
    """A script of replies, the last of which is repeated for ever, and the requests that were made."""

    url: str
    planned: list[Reply]
    written: list[Reply]
    requests: list[dict[str, Any]] = field(default_factory=list)

    def next_reply(self, body: dict[str, Any]) -> Reply:
        self.requests.append(body)
        replies = self.planned if body.get("tools") else self.written
        return replies.pop(0) if len(replies) > 1 else replies[0]


@contextmanager
def scripted_model(planned: list[Reply], written: list[Reply]) -> Iterator[ScriptedModel]:
    """Serve the replies, those to requests with tools and those without, and let the assistant use the server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Conversation)
    server.daemon_threads = True
    script = ScriptedModel(f"http://127.0.0.1:{server.server_port}/v1", planned, written)
    server.script = script  # type: ignore[attr-defined]  # the standard library's way to reach a request's server
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, name="scripted-model")
    thread.start()
    model.configure(
        model.ModelSettings(api_key="key of the test", model="scripted", base_url=script.url, max_retries=0)
    )
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Conversation(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        script: ScriptedModel = self.server.script  # type: ignore[attr-defined]  # set by `scripted_model`
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body["authorization"] = self.headers["Authorization"]
        body["path"] = self.path
        reply = script.next_reply(body)
        if reply.status != 200:
            self._answer(reply.status, "application/json", json.dumps({"error": {"message": reply.text}}))
        elif body.get("stream"):
            events = [f"data: {json.dumps(event)}\n\n" for event in _stream(reply, len(script.requests))]
            self._answer(200, "text/event-stream", "".join([*events, "data: [DONE]\n\n"]))
        else:
            self._answer(200, "application/json", json.dumps(_whole(reply, len(script.requests))))

    def _answer(self, status: int, kind: str, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet: the requests are in the script."""


def _whole(reply: Reply, serial: int) -> dict[str, Any]:
    reason = "tool_calls" if reply.calls else "stop"
    choice = {"index": 0, "message": reply.message(serial), "finish_reason": reason}
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    return {**_head(serial), "object": "chat.completion", "choices": [choice], "usage": usage}


def _stream(reply: Reply, serial: int) -> Iterator[dict[str, Any]]:
    head = {**_head(serial), "object": "chat.completion.chunk"}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas.extend({"content": word} for word in re.findall(r"\S+\s*", reply.text))
    for index, call in enumerate(reply.message(serial).get("tool_calls", ())):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        deltas.append({"tool_calls": [{**call, "index": index, "function": {"name": name, "arguments": ""}}]})
        halves = (arguments[: len(arguments) // 2], arguments[len(arguments) // 2 :])
        deltas.extend({"tool_calls": [{"index": index, "function": {"arguments": half}}]} for half in halves)
    for delta in deltas:
        yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls" if reply.calls else "stop"}]}


def _head(serial: int) -> dict[str, Any]:
    return {"id": f"chatcmpl-{serial}", "created": 1, "model": "scripted"}
