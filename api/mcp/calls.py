"""Owns what a call of a tool does: one run without a thread, waited for, its values as text and as structure.

What the run's request means is `run_requests`' to say.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from mcp.server.context import ServerRequestContext
from mcp.types import CallToolResult, TextContent, Tool

from threadline.api.conversation import MESSAGES, takes_messages, user_message
from threadline.api.run_requests import run_without_thread
from threadline.api.schemas import RunCreate
from threadline.runs.encoding import encode
from threadline.runs.engine import Engine
from threadline.runs.errors import RunError
from threadline.runs.model import NODE_FINISHED, Assistant, JsonObject, Run

INTERRUPT = "__interrupt__"
PATIENCE = 60.0  # seconds between two looks at a log that is told of news anyway


async def start(
    engine: Engine, assistant: Assistant, tool: Tool, arguments: JsonObject, parent: JsonObject | None
) -> Run | CallToolResult:
    """Accept the run that the call asks for; what is wrong with the arguments is told to the model."""
    if problem := _mismatch(tool.input_schema, arguments):
        return failure(f"The arguments do not fit the tool: {problem}")
    values = dict(arguments)
    if takes_messages(tool.input_schema) and isinstance(values.get(MESSAGES), str):
        values[MESSAGES] = [user_message(values[MESSAGES])]
    body = RunCreate(assistant_id=str(assistant.assistant_id), input=values)
    return await engine.queue.create(run_without_thread(body, assistant, parent))


async def steps(engine: Engine, run: Run) -> AsyncIterator[str]:
    """Yield the name of each node of the root graph that has finished, to the end of the run."""
    async with engine.tails.follow(run.thread_id, run.start_seq) as subscription:
        while True:
            for row in await subscription.next_rows(PATIENCE):
                if row.run_id != run.run_id:
                    continue
                for event in row.events():
                    if event.name == NODE_FINISHED:
                        node = orjson.loads(event.data)
                        if not node["ns"]:
                            yield node["name"]
                if row.ends(run.run_id):
                    return


async def finish(engine: Engine, run: Run, tool: Tool) -> CallToolResult:
    """Wait for the run and return what it left."""
    result = await engine.tails.result(run)
    if result is None:
        return failure("The run was removed before its result was read.")
    values = orjson.loads(result)
    if isinstance(values, dict) and "__error__" in values:
        error = values["__error__"]
        return failure(f"{error['error']}: {error['message']}")
    values = _output(values, tool.output_schema)
    text = TextContent(type="text", text=encode(values).decode())
    if tool.output_schema is None:
        return CallToolResult(content=[text])
    if problem := _mismatch(tool.output_schema, values):
        # A client refuses a structure that is not of the schema, with all that comes beside it.
        told = TextContent(type="text", text=f"The result does not fit the tool's output schema: {problem}")
        return CallToolResult(content=[text, told], is_error=True)
    return CallToolResult(content=[text], structured_content=values)


def _output(values: Any, schema: JsonObject | None) -> Any:
    """Return what the graph says it gives; the rest of its state is its own."""
    given = (schema or {}).get("properties")
    if not given or not isinstance(values, dict):
        return values
    return {name: value for name, value in values.items() if name in given or name == INTERRUPT}


def failure(text: str) -> CallToolResult:
    """Return a result that tells the model what went wrong."""
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)


async def report(context: ServerRequestContext[Any, Any], engine: Engine, run: Run) -> None:
    """Tell the client of each step, to the end of the run. How many there will be, nobody knows."""
    done = 0
    with suppress(RunError):  # whoever waits for the result is told
        async for name in steps(engine, run):
            done += 1
            await context.session.report_progress(done, message=f"{name} finished")


def _mismatch(schema: JsonObject, value: Any) -> str | None:
    problem: ValidationError | None = best_match(Draft202012Validator(schema).iter_errors(value))
    if problem is None:
        return None
    place = ".".join(str(part) for part in problem.absolute_path)
    text = problem.message if len(problem.message) < 200 else f"{problem.message[:200]}..."
    return f"{place}: {text}" if place else text
