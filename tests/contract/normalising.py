"""Owns what two answers may differ in without being different: ids, times, versions. Each becomes a label.

The same id gets the same label throughout a scenario, so what must be one id still is.
"""

import re
from collections import Counter
from typing import Any

from threadline.tests.contract.exchanges import Exchange, parse

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9a-f]{32}\b")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)")
_OWNERS = {"threads": "thread_id", "runs": "run_id", "assistants": "assistant_id", "crons": "cron_id"}
_VERSIONS = {"langgraph_api_version", "langgraph_version", "langgraph_py_version", "version"}
_NUMBERS = {"__request_start_time_ms__", "timestamp", "total_bytes", "bytes"}

# Behind that, the reference tells its insides: addresses in memory, sets in no order.
LONGEST_DETAIL = 80
LONGEST_TEXT = 5000

Normal = dict[str, Any]


class Labels:
    """What stands for the ids of one scenario: the field an id was first seen in, and a number."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self._addresses = addresses
        self._labels: dict[str, str] = {}
        self._counts: Counter[str] = Counter()

    def exchange(self, exchange: Exchange) -> Normal:
        """Return `exchange` as it is compared and recorded."""
        normal: Normal = {
            "call": f"{exchange.method} {self._path(exchange.path)}",
            "sent": self._value(parse(exchange.sent), "sent") if exchange.sent else None,
            "status": exchange.status,
            "headers": {name: self._header(name, value) for name, value in exchange.headers.items()},
        }
        if exchange.is_stream:
            normal["events"] = [self._event(event) for event in exchange.events()]
        else:
            normal["body"] = self._value(exchange.body(), "body")
        if exchange.raised is not None:
            normal["raised"] = exchange.raised
        return normal

    def _event(self, event: Normal) -> Normal:
        named: Normal = self._value({name: value for name, value in event.items() if name != "id"}, "event")
        return named | ({"id": "<event id>"} if "id" in event else {})

    def _header(self, name: str, value: str) -> str:
        return self._path(value) if name.endswith("location") else value

    def _path(self, path: str) -> str:
        bare, mark, query = self._placed(path).partition("?")
        parts = bare.split("/")
        for at, part in enumerate(parts):
            owner = _OWNERS.get(parts[at - 1], "path") if at else "path"
            parts[at] = self._text(part, owner)
        return "/".join(parts) + mark + "&".join(map(self._parameter, query.split("&")))

    def _parameter(self, parameter: str) -> str:
        name, sign, value = parameter.partition("=")
        return name + sign + self._text(value, name)

    def _value(self, value: Any, key: str) -> Any:
        if isinstance(value, dict):
            return {self._text(name, "key"): self._value(value[name], name) for name in sorted(value)}
        if isinstance(value, list) and key == "tools":
            value = sorted(value, key=lambda tool: str(tool["name"]))  # they come in no order that is promised
        if isinstance(value, list):
            return [self._value(item, key) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool) and key in _NUMBERS:
            return "<number>"
        if isinstance(value, str):
            if len(value) > LONGEST_TEXT:
                value = f"{value[:LONGEST_DETAIL]}..."
            if key == "detail":
                value = value.split("{'")[0][:LONGEST_DETAIL]
            if key == "event_id":
                return "<event id>"
            is_version = key in _VERSIONS and re.match(r"\d+\.\d+\.\d+", value)
            return "<version>" if is_version else self._text(value, key)
        return value

    def _text(self, text: str, key: str) -> str:
        text = _ID.sub(lambda found: self._label(found[0], key), text)
        return self._placed(_TIME.sub("<time>", text))

    def _placed(self, text: str) -> str:
        for address, label in self._addresses.items():
            text = text.replace(address, label)
        return text

    def _label(self, given: str, key: str) -> str:
        # The ids of the assistants that the server makes are the same everywhere, and part of the contract.
        if given[14:15] == "5" and key in ("assistant_id", "path"):
            return given
        if given not in self._labels:
            self._counts[key] += 1
            self._labels[given] = f"<{key} {self._counts[key]}>"
        return self._labels[given]
