"""Owns the proof that what langgraph.json puts before the routes is read whole, or refused by the name of its key."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from threadline.graphs.auth import AccessRules, Refused, UnusableRule, read_filter
from threadline.graphs.configuration import Configuration, load_configuration
from threadline.graphs.door import HeaderChoice, open_door
from threadline.graphs.errors import ConfigurationError
from threadline.graphs.sections import Section
from threadline.graphs.users import User, read_user
from threadline.graphs.webhooks import read_webhooks

Load = Callable[..., Configuration]
AUTH = """
from langgraph_sdk import Auth

auth = Auth()
nobody = Auth()
odd = Auth()
number = 1


@auth.authenticate
async def authenticate(authorization): return authorization


@odd.authenticate
async def asks(cookies): return cookies
"""


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a langgraph.json with these sections, beside a module with things to name."""
    (tmp_path / "door_parts.py").write_text(AUTH)
    (tmp_path / "door_fails.py").write_text("import os\nraise RuntimeError('no key')\n")

    def load_with(**sections: Any) -> Configuration:
        path = tmp_path / "langgraph.json"
        path.write_text(json.dumps({"graphs": {"agent": "./agent.py:graph"}, **sections}))
        return load_configuration(path)

    return load_with


@pytest.mark.parametrize(
    ("sections", "key", "instead"),
    [
        ({"auth": {}}, "auth.path", "./auth.py:auth"),
        ({"auth": []}, "auth", "must be an object"),
        ({"auth": {"path": 3}}, "auth.path", "must be a text"),
        ({"auth": {"path": "./door_parts.py"}}, "auth.path", "must name a variable"),
        ({"auth": {"path": "./absent.py:auth"}}, "auth.path", "does not exist"),
        ({"auth": {"path": "./door_parts.py:absent"}}, "auth.path", "it has no variable 'absent'"),
        ({"auth": {"path": "./door_fails.py:auth"}}, "auth.path", "line 2: RuntimeError: no key"),
        ({"auth": {"path": "./door_parts.py:number"}}, "auth.path", "is a int, not a langgraph_sdk.Auth"),
        ({"auth": {"path": "./door_parts.py:nobody"}}, "auth.path", "no `@auth.authenticate` handler"),
        ({"auth": {"path": "./door_parts.py:odd"}}, "auth.path", "asks for 'cookies'; it may ask for authorization"),
        ({"auth": {"path": "./door_parts.py:auth", "cache": {}}}, "auth.cache.cache_keys", "name the headers"),
        ({"http": {"app": "./door_parts.py:number"}}, "http.app", "not a Starlette or FastAPI application"),
        ({"http": {"disable_store": "yes"}}, "http.disable_store", "true or false"),
        ({"http": {"middleware_order": "last"}}, "http.middleware_order", "middleware_first, auth_first"),
        ({"http": {"mount_prefix": "api"}}, "http.mount_prefix", 'e.g. "/api"'),
        ({"http": {"cors": {"max_age": -1}}}, "http.cors.max_age", "at least 0"),
        ({"http": {"cors": {"allow_origins": "*"}}}, "http.cors.allow_origins", "a list of texts"),
        ({"http": {"configurable_headers": {"includes": [1]}}}, "http.configurable_headers.includes", "a list of"),
    ],
)
def test_what_cannot_be_meant_stops_the_start(load: Load, sections: Any, key: str, instead: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        open_door(load(**sections))
    assert refusal.value.key == key
    assert instead in str(refusal.value)


def test_a_file_without_sections_puts_nothing_before_the_routes(load: Load) -> None:
    door = open_door(load())
    assert not door.is_guarded
    assert (door.app, door.cors, door.disabled, door.mount_prefix) == (None, None, frozenset(), "")


def test_headers_are_chosen_by_patterns_and_credentials_only_by_name() -> None:
    headers = {"x-a": "1", "x-api-key": "2", "cookie": "3", "user-agent": "4", "x-tenant-id": "5"}
    assert HeaderChoice(None, ()).choose(headers) == {"x-a": "1"}
    assert HeaderChoice(("*",), ("x-*",)).choose(headers) == {"user-agent": "4"}
    assert HeaderChoice(("cookie", "x-tenant-*"), ()).choose(headers) == {"cookie": "3"}


@pytest.mark.parametrize(
    ("answer", "contained"),
    [
        ({"owner": "a"}, {"owner": "a"}),
        ({"owner": {"$eq": "a"}, "team": 1}, {"owner": "a", "team": 1}),
        ({"people": {"$contains": "a"}}, {"people": ["a"]}),
        ({"people": {"$contains": ["a", "b"]}}, {"people": ["a", "b"]}),
        ({}, {}),
    ],
)
def test_a_filter_becomes_what_metadata_must_contain(answer: Any, contained: Any) -> None:
    assert read_filter(answer) == contained


@pytest.mark.parametrize(
    "answer",
    [
        "alice",
        {"owner": ["a"]},
        {"owner": {}},
        {"owner": {"$ne": "a"}},
        {"owner": {"$eq": ["a"]}},
        {"owner": {"$eq": "a", "$contains": "a"}},
        {"owner": {"$contains": [{"a": 1}]}},
        {"owner": {"name": "a"}},
    ],
)
def test_a_filter_that_containment_cannot_say_is_refused(answer: Any) -> None:
    with pytest.raises(UnusableRule):
        read_filter(answer)


def _same(told: Any) -> Any:
    return told


class _Account:
    def __init__(self) -> None:
        self.identity = "ann"
        self.plan = "pro"

    def may(self, what: str) -> bool:
        return what == "read"


def test_a_user_is_known_by_attribute_and_by_key() -> None:
    user = read_user(_Account())
    assert (user.identity, user["identity"], user.display_name, user.plan) == ("ann", "ann", "ann", "pro")
    assert user.may("read")
    assert "plan" in user
    assert dict(read_user("bob")) == {
        "identity": "bob",
        "display_name": "bob",
        "is_authenticated": True,
        "permissions": [],
    }
    with pytest.raises(AttributeError):
        _ = User({"identity": "a"}).plan


@pytest.mark.parametrize("described", [None, 3, {}, {"identity": ""}, {"identity": 5}, object()])
def test_who_has_no_identity_is_nobody(described: Any) -> None:
    with pytest.raises(TypeError, match="has no identity"):
        read_user(described)


async def test_who_is_not_authenticated_is_let_in_nowhere(load: Load) -> None:
    rules = open_door(load(auth={"path": "./door_parts.py:auth"})).rules
    assert isinstance(rules, AccessRules)
    for described in (None, {"identity": "a", "is_authenticated": False}):
        with pytest.raises(Refused) as refusal:
            await rules.authenticate({"authorization": partial(_same, described)})
        assert refusal.value.status == 401


ASSERTING = """
from langgraph_sdk import Auth

auth = Auth()


@auth.authenticate
async def authenticate(authorization):
    assert authorization
    return authorization


@auth.on
async def own(ctx, value):
    return {"owner": ctx.user.identity}


@auth.on.store(actions=["put", "get"])
async def scope(ctx, value):
    assert value["namespace"][0] == ctx.user.identity, "Not authorized"
"""


async def test_an_assertion_in_a_handler_is_a_refusal(load: Load, tmp_path: Path) -> None:
    (tmp_path / "door_asserts.py").write_text(ASSERTING)
    rules = open_door(load(auth={"path": "./door_asserts.py:auth"})).rules
    assert isinstance(rules, AccessRules)
    ann = User({"identity": "ann"})
    with pytest.raises(Refused, match="Unauthorized") as refusal:
        await rules.authenticate({"authorization": partial(_same, None)})
    assert refusal.value.status == 401
    with pytest.raises(Refused, match="Not authorized") as refusal:
        await rules.authorize(ann, "store", "put", {"namespace": ("ben",)})
    assert refusal.value.status == 403
    assert await rules.authorize(ann, "store", "get", {"namespace": ("ann",)}) == {}
    assert await rules.authorize(ann, "threads", "read", {}) == {"owner": "ann"}
    # A filter by metadata says nothing about items, which have none: nothing is shown rather than everything.
    with pytest.raises(Refused, match="a filter says nothing about the store"):
        await rules.authorize(ann, "store", "search", {"namespace": ()})


def test_a_webhooks_headers_are_filled_in_from_variables_of_its_prefix(tmp_path: Path) -> None:
    content = {
        "headers": {"Authorization": "Bearer ${{ env.LG_WEBHOOK_TOKEN }}"},
        "url": {"allowed_domains": ["*.Example.com"], "allowed_ports": [443], "require_https": True},
    }
    section = Section(tmp_path, "webhooks", content)
    rules = read_webhooks(section, {"LG_WEBHOOK_TOKEN": "t"}, enabled=True)
    assert rules.headers == {"Authorization": "Bearer t"}
    assert (rules.allowed_domains, rules.allowed_ports, rules.allows_relative) == (("*.example.com",), (443,), False)
    with pytest.raises(ConfigurationError, match="LG_WEBHOOK_TOKEN is not set"):
        read_webhooks(section, {}, enabled=True)
    leaking = Section(tmp_path, "webhooks", {"headers": {"a": "${{ env.OPENAI_API_KEY }}"}})
    with pytest.raises(ConfigurationError, match="must begin with LG_WEBHOOK_"):
        read_webhooks(leaking, {"OPENAI_API_KEY": "s"}, enabled=True)


def test_keys_deep_in_the_file_are_named_with_what_to_do(load: Load) -> None:
    configuration = load(
        http={"cors": {"allow_origin": ["*"]}, "disable_sore": True},
        checkpointer={"path": "./saver.py:make", "serde": {"allowed_msgpack_modules": True}},
        auth={"path": "./door_parts.py:auth", "disable_studio_auth": False, "openapi": {"anything": {"goes": 1}}},
        graphs={"agent": {"path": "./agent.py:graph", "desciption": "x"}},
        python_version="3.12",
    )
    assert [(notice.key, notice.is_known) for notice in configuration.notices] == [
        ("graphs.agent.desciption", False),
        ("http.cors.allow_origin", False),
        ("http.disable_sore", False),
        ("checkpointer.path", True),
        ("checkpointer.serde.allowed_msgpack_modules", True),
        ("auth.disable_studio_auth", True),
    ]
    assert all(notice.text for notice in configuration.notices)


def test_classes_that_checkpoints_may_hold_are_listed_by_module_and_name(load: Load) -> None:
    listed = {"serde": {"allowed_msgpack_modules": [["my_agent.models", "State"], ["a", "b", "C"]]}}
    assert load(checkpointer=listed).allowed_classes == {("my_agent.models", "State"), ("a.b", "C")}
    assert load(checkpointer={"serde": {"allowed_msgpack_modules": None}}).allowed_classes == frozenset()
    with pytest.raises(ConfigurationError, match="by module and name"):
        load(checkpointer={"serde": {"allowed_msgpack_modules": ["State"]}})
