"""Owns how the events of a run are told, one after the other; what should be among them is up to the acts."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from threadline.commands.demo.client import Event
from threadline.commands.demo.screen import Screen

# What a node of the assistant is called on the screen.
_LABELS = {"tools": "tool"}
_ARGUMENTS_LENGTH = 60
_RESULT_LENGTH = 80


@dataclass
class Account:
    """What was seen of a run: its events, which nodes reported a result, and in which order."""

    events: list[Event] = field(default_factory=list)

    @property
    def ids(self) -> list[int]:
        return [event.id for event in self.events]

    @property
    def run_id(self) -> str:
        run_id: str = self.events[0].data["run_id"]
        return run_id

    @property
    def attempts(self) -> list[int]:
        return [event.data["attempt"] for event in self.events if event.name == "metadata"]

    def results(self, node: str) -> list[Any]:
        """What a node reported, each time that it ended."""
        return [event.data[node] for event in self.events if event.name == "updates" and node in event.data]

    def tokens(self, node: str) -> list[str]:
        """What a node streamed."""
        messages = (event.data for event in self.events if event.name == "messages")
        return [chunk["content"] for chunk, about in messages if about["langgraph_node"] == node and chunk["content"]]


def narrate(events: Iterable[Event], screen: Screen, account: Account) -> Iterator[Event]:
    """Tell each event, note it in `account`, and yield it."""
    for event in events:
        account.events.append(event)
        _tell(event, screen)
        yield event


def _tell(event: Event, screen: Screen) -> None:
    match event.name:
        case "metadata":
            screen.line(f"event {event.id}", f"metadata: attempt {event.data['attempt']} of run {event.data['run_id']}")
        case "updates":
            for node, update in event.data.items():
                _tell_update(event.id, node, update, screen)
        case "messages":
            chunk, about = event.data
            if about["langgraph_node"] == "responder" and chunk["content"]:
                screen.words("responder", chunk["content"])
        case name:
            screen.line(f"event {event.id}", f"{name}: {event.data}")


def _tell_update(number: int, node: str, update: Any, screen: Screen) -> None:
    label = _LABELS.get(node, node)
    match node:
        case "__interrupt__":
            for question in update:
                screen.line("interrupt", f"the run stops and asks: {question['value']}  (event {number})")
        case "planner":
            calls = [call for message in update.get("messages", ()) for call in message.get("tool_calls", ())]
            plan = " and ".join(f"{call['name']}({_arguments(call['args'])})" for call in calls)
            text = f"calls {plan}" if plan else "has what it needs"
            screen.line(label, f"{text}  (event {number})")
        case "tools":
            for message in update["messages"]:
                screen.line(label, f"{message['name']}: {_result(message)}  (event {number})")
        case _:
            screen.line(label, f"is done  (event {number})")


def _arguments(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{name}={_short(repr(value), _ARGUMENTS_LENGTH)}" for name, value in arguments.items())


def _result(message: dict[str, Any]) -> str:
    if message.get("artifact"):
        places = list(dict.fromkeys(passage["path"] for passage in message["artifact"]))
        return f"{len(message['artifact'])} passages of {', '.join(places)}"
    return _short(message["content"], _RESULT_LENGTH)


def _short(text: str, length: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}\u2026"
