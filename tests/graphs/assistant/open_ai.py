"""Owns a server that speaks OpenAI's chat completions and says what a test tells it to, whole or streamed."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from time import monotonic
from typing import Any

from threadline.graphs.assistant import model


@dataclass(frozen=True)
class Reply:
    """What the model says next: a text, or calls as (tool, arguments as JSON text); `status` other than 200 fails.

    `raw` is sent in place of a stream's events; after it, or after the first words, a reply with `stalls` falls silent,
    one with `breaks` ends in the middle.
    """

    text: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    refusal: str | None = None
    finish_reason: str | None = None
    ids: tuple[str | None, ...] | None = None
    raw: str | None = None
    stalls: bool = False
    breaks: bool = False
    usage: int = 12

    def message(self, serial: int) -> dict[str, Any]:
        calls = [
            {
                "id": self.ids[index] if self.ids else f"call_{serial}_{index}",
                "type": "function",
                "function": {"name": name, "arguments": arguments},
            }
            for index, (name, arguments) in enumerate(self.calls)
        ]
        return {"role": "assistant", "content": self.text, **({"tool_calls": calls} if calls else {})}


@dataclass
class ScriptedModel:
    """A script of replies, the last of which is repeated for ever, and the requests that were made, and when."""

    url: str
    planned: list[Reply]
    written: list[Reply]
    requests: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    stopped: Event = field(default_factory=Event)

    def next_reply(self, body: dict[str, Any]) -> Reply:
        self.requests.append(body)
        self.times.append(monotonic())
        replies = self.planned if body.get("tools") else self.written
        return replies.pop(0) if len(replies) > 1 else replies[0]


@contextmanager
def scripted_model(
    planned: list[Reply], written: list[Reply], tokens: model.TokenSettings | None = None, **settings: Any
) -> Iterator[ScriptedModel]:
    """Serve the replies, those to requests with tools and those without, and let the assistant use the server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Conversation)
    server.daemon_threads = True
    script = ScriptedModel(f"http://127.0.0.1:{server.server_port}/v1", planned, written)
    server.script = script  # type: ignore[attr-defined]  # the standard library's way to reach a request's server
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, name="scripted-model")
    thread.start()
    chosen = {"api_key": "key of the test", "base_url": script.url, "model": "scripted", "max_retries": 0, **settings}
    try:
        model.configure(model.ModelSettings(**chosen), tokens)
        yield script
    finally:
        script.stopped.set()
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
            self._begin(reply.status, "application/json", reply.headers)
            self._send(json.dumps({"error": {"message": reply.text}}))
        elif reply.raw is not None:
            self._begin(200, "text/event-stream", reply.headers)
            self._send(reply.raw)
        else:
            events = [f"data: {json.dumps(event)}\n\n" for event in _stream(reply, len(script.requests))]
            self._begin(200, "text/event-stream", reply.headers)
            part = 3 if reply.stalls or reply.breaks else len(events)
            self._send("".join(events[:part]))
            if part == len(events):
                self._send("data: [DONE]\n\n")
        if reply.stalls:
            script.stopped.wait(30)

    def _begin(self, status: int, kind: str, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Connection": "close", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, text: str) -> None:
        try:
            self.wfile.write(text.encode())
            self.wfile.flush()
        except OSError:
            # The assistant has had enough, which is what endless replies are for.
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet: the requests are in the script."""


def _stream(reply: Reply, serial: int) -> Iterator[dict[str, Any]]:
    head = {**_head(serial), "object": "chat.completion.chunk"}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    if reply.refusal:
        deltas.append({"refusal": reply.refusal})
    deltas.extend({"content": word} for word in re.findall(r"\S+\s*", reply.text))
    for index, call in enumerate(reply.message(serial).get("tool_calls", ())):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        deltas.append({"tool_calls": [{**call, "index": index, "function": {"name": name, "arguments": ""}}]})
        halves = (arguments[: len(arguments) // 2], arguments[len(arguments) // 2 :])
        deltas.extend({"tool_calls": [{"index": index, "function": {"arguments": half}}]} for half in halves)
    for delta in deltas:
        yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    reason = reply.finish_reason or ("tool_calls" if reply.calls else "stop")
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    yield {
        **head,
        "choices": [],
        "usage": {"prompt_tokens": reply.usage - 7, "completion_tokens": 7, "total_tokens": reply.usage},
    }


def _head(serial: int) -> dict[str, Any]:
    return {"id": f"chatcmpl-{serial}", "created": 1, "model": "scripted"}
