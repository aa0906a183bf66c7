"""What a node does on its way, in a thread of its own too, is encrypted in the context of its run."""

import json
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

from langgraph_sdk import get_client

from threadline.api.app import create_app
from threadline.checkpoints.handler_form import read_context
from threadline.checkpoints.pool import open_pool
from threadline.commands.databases import project_vault
from threadline.graphs.configuration import load_configuration
from threadline.graphs.door import open_door
from threadline.graphs.registry import Registry
from threadline.runs.engine import open_engine
from threadline.settings import ApiSettings
from threadline.tests.api.conftest import Serve, engine_settings
from threadline.tests.checkpoints import project_encryption
from threadline.tests.checkpoints.sealed_world import find_in_database
from threadline.tests.laboratory.places import reach

CANARY = "canary-c0de"
CONTEXT = {"tenant": "ann"}
KEEPING = """
from langgraph.config import get_store
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from threadline.effects import effect


class State(TypedDict, total=False):
    text: str
    done: str


def keep(state: State) -> State:
    get_store().put(("kept",), "sync", {"text": state["text"]})
    return {"done": effect("told", lambda: state["text"])}


async def keep_too(state: State) -> State:
    await get_store().aput(("kept",), "async", {"text": state["text"]})
    return {}


graph = StateGraph(State).add_sequence([keep, keep_too]).add_edge(START, "keep").compile()
"""


async def test_items_and_effects_of_nodes_are_encrypted_in_the_context_of_the_run(
    tmp_path: Path, dsn: str, serve: Serve
) -> None:
    (tmp_path / "keeping.py").write_text(KEEPING)
    named = {"path": f"{project_encryption.__name__}:only_blobs"}
    path = tmp_path / "langgraph.json"
    path.write_text(json.dumps({"graphs": {"keeping": "./keeping.py:graph"}, "encryption": named}))
    configuration = load_configuration(path)
    database = replace(reach(dsn, pooled=False), vault=project_vault(configuration))
    registry = Registry(configuration)
    app = create_app(
        lambda: open_engine(database, registry, engine_settings()), ApiSettings(), open_door(configuration)
    )
    headers = {"X-Encryption-Context": b64encode(json.dumps(CONTEXT).encode()).decode()}
    with serve(app) as served:
        async with get_client(url=served.url, api_key=None) as sdk:
            thread = (await sdk.threads.create())["thread_id"]
            run: Any = await sdk.runs.wait(thread, "keeping", input={"text": CANARY}, headers=headers)
            items = (await sdk.store.search_items(["kept"]))["items"]
    assert run["done"] == CANARY
    assert {item["key"]: item["value"] for item in items} == {key: {"text": CANARY} for key in ("sync", "async")}
    async with open_pool(database, "test") as pool, pool.connection() as connection:
        stored = await (await connection.execute("select value from store")).fetchall()
        effects = await (await connection.execute("select blob from effects")).fetchall()
        blobs = await (await connection.execute("select blob from checkpoint_blobs where blob is not null")).fetchall()
    assert len(effects) == 1
    assert all(read_context(value) == CONTEXT for (value,) in (*stored, *effects, *blobs))
    assert find_in_database(dsn, CANARY) == []
