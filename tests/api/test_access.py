"""Owns the proof that the project's handlers decide: who somebody is, what they may do, and what they see of others."""

from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

import httpx
import pytest
from langgraph_sdk import get_client

from threadline.graphs.auth import Refused
from threadline.graphs.users import User
from threadline.runs.callers import Caller, calling, clear_thread
from threadline.tests.api.guarded_world import AUTH, GRAPHS, client_of, serve_project, write_project

TELL = {"assistant_id": "telling", "input": {}}

# No global handler: what has no handler of its own is allowed, and runs inherit from the thread.
NARROW = """
from langgraph_sdk import Auth

auth = Auth()


@auth.authenticate
def authenticate(headers: dict, path: str, method: str, query_params: dict, path_params: dict, body: dict) -> dict:
    token = headers.get(b"x-token")
    if token is None:
        raise Auth.exceptions.HTTPException(401)
    name = token.decode()
    return {"identity": name, "permissions": [], "seen": [path, method, query_params, path_params, body]}


@auth.on.threads.create
async def create(ctx, value):
    value.setdefault("metadata", {})["participants"] = [ctx.user.identity]


@auth.on.threads
async def share(ctx, value):
    return {"participants": {"$contains": ctx.user.identity}}


@auth.on.threads.delete
async def delete(ctx, value):
    return ctx.user.identity == "admin"


@auth.on.threads.update
async def update(ctx, value):
    return {"participants": {"$contains": [ctx.user.identity, "admin"]}, "locked": {"$eq": False}}


@auth.on.assistants.search
async def broken(ctx, value):
    return {"name": {"$regex": ".*"}}
"""


STRICT = """
from dataclasses import dataclass

from langgraph.runtime import Runtime


@dataclass
class Wanted:
    model: str


def say(state: State, config: RunnableConfig, runtime: Runtime[Wanted]) -> State:
    return {"told": f"{runtime.context.model} for {config['configurable']['langgraph_auth_user']['identity']}"}


strict = StateGraph(State, context_schema=Wanted).add_node("say", say).add_edge(START, "say").compile()
"""


@pytest.fixture(scope="module")
def url(server_dsn: str, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    config = write_project(
        tmp_path_factory.mktemp("guarded"),
        http={"configurable_headers": {"includes": ["x-*", "my-*"], "excludes": ["x-secret"]}},
    )
    with serve_project(server_dsn, template_database, config) as served:
        yield served


@pytest.fixture(scope="module")
def narrow_url(server_dsn: str, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    config = write_project(tmp_path_factory.mktemp("narrow"), rules=NARROW)
    with serve_project(server_dsn, template_database, config) as served:
        yield served


@pytest.fixture
def alice(url: str) -> Iterator[httpx.Client]:
    with client_of(url, "alice") as client:
        yield client


@pytest.fixture
def bob(url: str) -> Iterator[httpx.Client]:
    with client_of(url, "bob") as client:
        yield client


def new_thread(client: httpx.Client, **body: Any) -> str:
    made: str = client.post("/threads", json=body).raise_for_status().json()["thread_id"]
    return made


def told(client: httpx.Client, body: Any = None, headers: Any = None) -> Any:
    return client.post("/runs/wait", json=body or TELL, headers=headers).raise_for_status().json()["told"]


def test_what_a_handler_stamps_is_on_the_thread(alice: httpx.Client) -> None:
    thread = alice.get(f"/threads/{new_thread(alice, metadata={'a': 1})}").json()
    assert thread["metadata"] == {"a": 1, "owner": "alice"}


def test_nobody_takes_a_thread_over_by_patching_it(alice: httpx.Client, bob: httpx.Client) -> None:
    thread = new_thread(alice)
    assert bob.patch(f"/threads/{thread}", json={"metadata": {"owner": "bob"}}).status_code == 404
    assert bob.post("/threads", json={"thread_id": thread, "if_exists": "do_nothing"}).status_code == 409
    patched = alice.patch(f"/threads/{thread}", json={"metadata": {"owner": "mallory"}}).json()
    assert patched["metadata"] == {"owner": "alice"}


def test_searches_and_counts_see_only_what_is_ones_own(alice: httpx.Client, bob: httpx.Client) -> None:
    mark = str(uuid4())
    mine = new_thread(alice, metadata={"mark": mark})
    new_thread(bob, metadata={"mark": mark})
    for client, found in ((alice, [mine]), (bob, None)):
        threads = client.post("/threads/search", json={"metadata": {"mark": mark}}).json()
        assert len(threads) == client.post("/threads/count", json={"metadata": {"mark": mark}}).json() == 1
        assert found is None or [thread["thread_id"] for thread in threads] == found
    assert bob.post("/threads/search", json={"ids": [mine]}).json() == []
    assert bob.post("/threads/search", json={"metadata": {"owner": "alice"}}).json() == []


def test_assistants_of_the_system_are_nobodys_but_may_be_run(alice: httpx.Client) -> None:
    assert alice.post("/assistants/search", json={}).json() == []
    assert alice.get("/assistants/telling").status_code == 404
    assert told(alice)["identity"] == "alice"


def test_a_run_knows_who_sent_it(alice: httpx.Client) -> None:
    seen = told(alice)
    assert (seen["identity"], seen["team"], seen["id"], seen["permissions"]) == ("alice", "red", "alice", ["write"])
    assert {"langgraph_auth_user", "langgraph_request_id", "user_id"} <= set(seen["keys"])


def test_nobody_runs_in_the_name_of_another(bob: httpx.Client) -> None:
    forged = {"langgraph_auth_user": {"identity": "alice"}, "langgraph_auth_user_id": "alice", "user_id": "alice"}
    for body in ({"config": {"configurable": forged}}, {"context": forged}):
        seen = told(bob, TELL | body)
        assert (seen["identity"], seen["id"]) == ("bob", "bob")


def test_a_factory_is_told_who_reads_the_state_and_who_runs(alice: httpx.Client) -> None:
    thread = new_thread(alice)
    alice.post(f"/threads/{thread}/runs/wait", json={"assistant_id": "made", "input": {}}).raise_for_status()
    history = alice.get(f"/threads/{thread}/history").json()
    assert [state["next"] for state in history][1] == ["for_alice"]


def test_a_factory_is_told_who_draws_its_graph(alice: httpx.Client) -> None:
    assistant = alice.post("/assistants", json={"graph_id": "made"}).raise_for_status().json()["assistant_id"]
    nodes = alice.get(f"/assistants/{assistant}/graph").raise_for_status().json()["nodes"]
    assert "for_alice" in [node["id"] for node in nodes]


def test_a_run_is_found_again_by_whoever_made_it_without_a_thread(alice: httpx.Client, bob: httpx.Client) -> None:
    response = alice.post("/runs/wait", json=TELL).raise_for_status()
    place = response.headers["location"]
    assert alice.get(place).json()["told"]["identity"] == "alice"
    assert bob.get(place).status_code == 404


def test_a_thread_made_by_a_run_is_its_makers(alice: httpx.Client, bob: httpx.Client) -> None:
    thread = str(uuid4())
    body = TELL | {"if_not_exists": "create"}
    run = alice.post(f"/threads/{thread}/runs", json=body).raise_for_status().json()
    assert run["metadata"]["owner"] == "alice"
    assert alice.get(f"/threads/{thread}").json()["metadata"]["owner"] == "alice"
    assert bob.post(f"/threads/{thread}/runs", json=body).status_code == 404
    assert bob.post(f"/threads/{thread}/runs/wait", json=TELL).status_code == 404
    assert len(alice.get(f"/threads/{thread}/runs").json()) == 1


def test_crons_are_found_and_changed_by_their_makers_only(alice: httpx.Client, bob: httpx.Client) -> None:
    body = {"assistant_id": "telling", "schedule": "0 0 1 1 *", "input": {}, "metadata": {"mark": str(uuid4())}}
    cron = alice.post("/runs/crons", json=body).raise_for_status().json()
    assert (cron["user_id"], cron["metadata"]["owner"]) == ("alice", "alice")
    query = {"metadata": body["metadata"]}
    assert [each["cron_id"] for each in alice.post("/runs/crons/search", json=query).json()] == [cron["cron_id"]]
    assert bob.post("/runs/crons/search", json=query).json() == []
    assert (alice.post("/runs/crons/count", json=query).json(), bob.post("/runs/crons/count", json=query).json()) == (
        1,
        0,
    )
    path = f"/runs/crons/{cron['cron_id']}"
    for method, given in (("GET", None), ("PATCH", {"enabled": False}), ("DELETE", None)):
        assert bob.request(method, path, json=given).status_code == 404
    assert alice.get(path).json()["enabled"] is True
    assert bob.post(f"/threads/{new_thread(alice)}/runs/crons", json=body).status_code == 404
    assert alice.delete(path).status_code == 204


def test_a_cron_runs_in_the_name_of_its_maker(alice: httpx.Client) -> None:
    mark = {"mark": str(uuid4())}
    body = {"assistant_id": "telling", "schedule": "* * * * * *", "input": {}, "metadata": mark}
    body["on_run_completed"] = "keep"
    cron = alice.post("/runs/crons", json=body).raise_for_status().json()
    found: Any = []
    deadline = monotonic() + 20
    while not (found and found[0]["values"]) and monotonic() < deadline:
        found = alice.post("/threads/search", json={"metadata": mark, "sort_order": "asc"}).json()
    assert alice.delete(f"/runs/crons/{cron['cron_id']}").status_code == 204
    assert found[0]["values"]["told"]["identity"] == "alice"


def test_a_bulk_cancel_stops_ones_own_runs_only(alice: httpx.Client, bob: httpx.Client) -> None:
    later = TELL | {"after_seconds": 3600}
    (mine,) = alice.post("/runs/batch", json=[later]).raise_for_status().json()
    (theirs,) = bob.post("/runs/batch", json=[later]).raise_for_status().json()
    named = {"thread_id": mine["thread_id"], "run_ids": [mine["run_id"]]}
    assert bob.post("/runs/cancel", json=named).status_code == 404
    assert bob.post("/runs/cancel", json={"status": "pending"}).status_code == 204
    ours = f"/threads/{mine['thread_id']}/runs/{mine['run_id']}"
    assert alice.get(ours).json()["status"] == "pending"
    assert bob.get(f"/threads/{theirs['thread_id']}/runs/{theirs['run_id']}").json()["status"] == "interrupted"
    assert alice.post("/runs/cancel", json=named).status_code == 204
    assert alice.get(ours).json()["status"] == "interrupted"


def test_a_comparison_with_anothers_thread_finds_nothing(alice: httpx.Client, bob: httpx.Client) -> None:
    threads = {}
    for name, client in (("alice", alice), ("bob", bob)):
        threads[name] = new_thread(client)
        client.post(f"/threads/{threads[name]}/runs/wait", json=TELL).raise_for_status()
    checkpoint = alice.get(f"/threads/{threads['alice']}/state").json()["checkpoint"]["checkpoint_id"]
    place = f"{threads['alice']}@{checkpoint}"
    assert alice.get(f"/threads/{threads['alice']}/diff", params={"a": checkpoint}).status_code == 200
    assert bob.get(f"/threads/{threads['bob']}/diff", params={"a": place}).status_code == 404


def test_a_fork_is_whose_it_is_that_made_it(narrow_url: str) -> None:
    with client_of(narrow_url, **{"x-token": "fay"}) as fay, client_of(narrow_url, **{"x-token": "gus"}) as gus:
        thread = new_thread(fay)
        fay.post(f"/threads/{thread}/runs/wait", json=TELL).raise_for_status()
        assert gus.post(f"/threads/{thread}/fork", json={}).status_code == 404
        fork = fay.post(f"/threads/{thread}/fork", json={}).raise_for_status().json()["thread_id"]
        assert fay.get(f"/threads/{fork}").json()["metadata"]["participants"] == ["fay"]


def test_who_asks_is_no_part_of_a_graphs_context(server_dsn: str, template_database: str, tmp_path: Path) -> None:
    config = write_project(tmp_path, graphs=f"{GRAPHS}\n{STRICT}")
    config.write_text(config.read_text().replace("guarded_graphs.py:made_for", "guarded_graphs.py:strict"))
    with serve_project(server_dsn, template_database, config) as url, client_of(url, "alice") as alice:
        body = {"assistant_id": "made", "input": {}, "context": {"model": "m1"}}
        assert told(alice, body) == "m1 for alice"


def test_headers_reach_the_run_as_the_file_says(alice: httpx.Client) -> None:
    headers = {"x-foo": "1", "My-H": "2", "x-secret": "3", "x-api-key": "4", "x-request-id": "five"}
    seen = told(alice, headers=headers)["headers"]
    assert seen == {"x-foo": "1", "my-h": "2", "x-request-id": "five"}


async def test_the_official_client_raises_what_the_handler_meant(url: str) -> None:
    async with get_client(url=url, api_key=None, headers={"authorization": "Bearer alice"}) as mine:
        thread = await mine.threads.create()
        state: Any = None
        async for _ in mine.runs.stream(thread["thread_id"], "telling", input={}):
            pass
        state = await mine.threads.get_state(thread["thread_id"])
        assert state["values"]["told"]["identity"] == "alice"
    async with get_client(url=url, api_key=None, headers={"authorization": "Bearer bob"}) as theirs:
        with pytest.raises(Exception, match="not found"):
            await theirs.threads.get(thread["thread_id"])


def test_a_filter_by_membership_shares_a_thread(narrow_url: str) -> None:
    with client_of(narrow_url, **{"x-token": "ann"}) as ann, client_of(narrow_url, **{"x-token": "ben"}) as ben:
        mark = str(uuid4())
        thread = new_thread(ann, metadata={"mark": mark})
        assert ben.get(f"/threads/{thread}").status_code == 404
        # Neither is `admin` among the participants, nor is the thread unlocked.
        assert ann.patch(f"/threads/{thread}", json={"metadata": {"a": 1}}).status_code == 404
        shared = new_thread(ann, metadata={"participants": ["someone"], "mark": mark})
        assert ann.get(f"/threads/{shared}").json()["metadata"] == {"participants": ["ann"], "mark": mark}
        found = ann.post("/threads/search", json={"metadata": {"mark": mark}}).json()
        assert [each["thread_id"] for each in found] == [shared, thread]
        assert ben.post("/threads/search", json={}).json() == []


def test_a_handler_that_says_no_forbids(narrow_url: str) -> None:
    with client_of(narrow_url, **{"x-token": "ann"}) as ann:
        response = ann.delete(f"/threads/{new_thread(ann)}")
    assert (response.status_code, response.json()) == (403, {"detail": "Forbidden"})


def test_a_run_on_a_thread_follows_the_rules_of_the_thread(narrow_url: str) -> None:
    with client_of(narrow_url, **{"x-token": "ann"}) as ann, client_of(narrow_url, **{"x-token": "ben"}) as ben:
        thread = new_thread(ann)
        assert ben.post(f"/threads/{thread}/runs/wait", json=TELL).status_code == 404
        ann.post(f"/threads/{thread}/runs/wait", json=TELL).raise_for_status()


async def test_who_may_read_a_thread_may_not_change_it_in_the_same_breath() -> None:
    asked: list[str] = []

    class Reading:
        async def authorize(self, user: User, resource: str, action: str, value: dict[str, Any]) -> dict[str, Any]:
            asked.append(action)
            if action != "read":
                raise Refused(403, "Forbidden")
            return {}

    pool: Any = None  # no filter, so nothing is asked of it
    thread = uuid4()
    with calling(Caller(User({"identity": "ann"}), Reading())):
        await clear_thread(pool, thread)
        await clear_thread(pool, thread)
        for action in ("update", "delete"):
            with pytest.raises(Refused):
                await clear_thread(pool, thread, action)
    assert asked == ["read", "update", "delete"]


def test_a_filter_that_cannot_be_applied_shows_nothing(narrow_url: str) -> None:
    with client_of(narrow_url, **{"x-token": "ann"}) as ann:
        response = ann.post("/assistants/search", json={})
    assert (response.status_code, response.json()) == (500, {"detail": "Internal Server Error"})


def test_a_blocking_handler_sees_every_part_of_the_request(narrow_url: str) -> None:
    with client_of(narrow_url, **{"x-token": "ann"}) as ann:
        run = ann.post("/runs?a=b", json=TELL).raise_for_status().json()
    user = run["kwargs"]["config"]["configurable"]["langgraph_auth_user"]
    assert user["seen"] == ["/runs", "POST", {"a": "b"}, {}, TELL]


def test_without_rules_nothing_is_asked(server_dsn: str, template_database: str, tmp_path: Path) -> None:
    only = AUTH.partition("@auth.on\n")[0]
    config = write_project(tmp_path, rules=only)
    with serve_project(server_dsn, template_database, config) as url, client_of(url, "bob") as bob:
        with client_of(url, "alice") as alice:
            thread = new_thread(alice)
        assert bob.get(f"/threads/{thread}").status_code == 200
        assert told(bob)["identity"] == "bob"


def test_an_assistant_is_its_makers(alice: httpx.Client, bob: httpx.Client) -> None:
    made = alice.post("/assistants", json={"graph_id": "telling", "name": "Alice's"}).raise_for_status().json()
    assert made["metadata"] == {"owner": "alice"}
    mine = f"/assistants/{made['assistant_id']}"
    assert bob.post("/assistants/count", json={"name": "Alice's"}).json() == 0
    assert alice.post("/assistants/count", json={"name": "Alice's"}).json() == 1
    again = {"graph_id": "telling", "assistant_id": made["assistant_id"], "if_exists": "do_nothing"}
    assert bob.post("/assistants", json=again).status_code == 404
    assert bob.patch(mine, json={"name": "Bob's"}).status_code == 404
    assert bob.post(f"{mine}/latest", json={"version": 1}).status_code == 404
    assert bob.delete(mine).status_code == 404
    thread = alice.post("/threads", json={}).json()["thread_id"]
    run = {"assistant_id": made["assistant_id"], "input": {}}
    assert bob.post("/runs/wait", json=run).status_code == 404
    assert alice.post(f"/threads/{thread}/runs/wait", json=run).status_code == 200
    assert alice.patch(mine, json={"name": "Ours"}).json()["version"] == 2
    assert alice.delete(mine, params={"delete_threads": True}).status_code == 204
    assert alice.get(f"/threads/{thread}").status_code == 404


def test_a_prune_leaves_alone_what_is_anothers(alice: httpx.Client, bob: httpx.Client) -> None:
    hers, his = (user.post("/threads", json={}).json()["thread_id"] for user in (alice, bob))
    for strategy in ("keep_latest", "delete"):
        pruned = bob.post("/threads/prune", json={"thread_ids": [hers, his], "strategy": strategy})
        assert pruned.json() == {"pruned_count": 1}
    assert alice.get(f"/threads/{hers}").status_code == 200


def test_a_copy_is_of_ones_own_and_ones_own(alice: httpx.Client, bob: httpx.Client) -> None:
    thread = alice.post("/threads", json={"metadata": {"a": 1}}).json()["thread_id"]
    assert bob.post(f"/threads/{thread}/copy").status_code == 404
    assert alice.post(f"/threads/{thread}/copy").json()["metadata"] == {"owner": "alice", "a": 1}


def test_a_thread_born_with_a_past_is_its_makers(alice: httpx.Client, bob: httpx.Client) -> None:
    past = [{"updates": [{"values": {"told": 1}, "as_node": "tell"}]}]
    made = alice.post("/threads", json={"metadata": {"graph_id": "telling"}, "supersteps": past}).raise_for_status()
    assert made.json()["metadata"]["owner"] == "alice"
    assert bob.get(f"/threads/{made.json()['thread_id']}/state").status_code == 404


def test_items_are_kept_where_the_handler_says(alice: httpx.Client, bob: httpx.Client) -> None:
    item = {"namespace": ["notes"], "key": "k", "value": {"n": 1}}
    assert alice.put("/store/items", json=item).status_code == 204
    assert alice.get("/store/items?namespace=notes&key=k").json()["namespace"] == ["alice", "notes"]
    assert bob.get("/store/items?namespace=notes&key=k").json() is None
    assert bob.get("/store/items?namespace=alice.notes&key=k").json() is None
    assert bob.post("/store/items/search", json={"namespace_prefix": []}).json() == {"items": []}
    assert [each["key"] for each in alice.post("/store/items/search", json={}).json()["items"]] == ["k"]
    assert bob.post("/store/namespaces", json={}).json() == {"namespaces": []}
    assert alice.post("/store/namespaces", json={}).json() == {"namespaces": [["alice", "notes"]]}
    assert bob.request("DELETE", "/store/items", json={"namespace": ["notes"], "key": "k"}).status_code == 204
    assert alice.get("/store/items?namespace=notes&key=k").json()["value"] == {"n": 1}


def test_a_factory_is_told_who_looks_at_its_graph(narrow_url: str) -> None:
    with httpx.Client(base_url=narrow_url, headers={"x-token": "ann"}) as ann:
        drawing = ann.get("/assistants/made/graph").raise_for_status().json()
        assert "for_ann" in [node["id"] for node in drawing["nodes"]]
        assert "told" in ann.get("/assistants/made/schemas").json()["output_schema"]["properties"]
