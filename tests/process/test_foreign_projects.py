"""A project that Threadline has never seen, with folders and modules that are called like Threadline's own."""

from typing import Any

from threadline.tests.process.deployments import Deployment
from threadline.tests.process.listeners import Listener


async def test_a_projects_own_settings_graphs_and_api_are_imported(served: Deployment) -> None:
    async with served.clients() as (sdk, _):
        owned: Any = await sdk.runs.wait(None, "owned", input={"name": "owned"})
        assert owned["log"] == ["somebody else"]
        talking = Listener(sdk, "talking", "foreign")
        await talking.ended()
        spoken = [part.data[0]["content"] for part in talking.parts if part.mode == "messages"]
        assert "".join(spoken) == "abcdefghijklmnopqrst"


async def test_the_variables_of_its_langgraph_json_reach_its_nodes(served: Deployment) -> None:
    async with served.clients() as (sdk, _):
        await sdk.runs.wait(None, "line", input={"name": "variables"})
        assert served.project.starts("variables") == {"a": 1, "b": 1, "c": 1}


async def test_every_graph_of_it_has_an_assistant(served: Deployment) -> None:
    async with served.clients() as (sdk, _):
        found = await sdk.assistants.search(limit=100)
        assert {assistant["graph_id"] for assistant in found} >= {"line", "fork", "chatty", "owned"}
