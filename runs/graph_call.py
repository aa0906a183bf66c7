"""Owns the call of a graph for one attempt: opened, met with the thread's past, given its hooks, and run to its end.

What it does on the way is recorded by `recorder`; what its end means is `execution`'s to say.
"""

from contextlib import nullcontext
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import RunControl, Runtime

from threadline.checkpoints.buffer import RunBuffer
from threadline.checkpoints.run_saver import RunSaver
from threadline.runs.invocation import Invocation
from threadline.runs.model import Claim, JsonObject
from threadline.runs.projections import Projections
from threadline.runs.recorder import Recorder
from threadline.runs.resumption import Resumption
from threadline.runs.supersteps import pace
from threadline.runs.workshop import Workshop


async def call_graph(
    workshop: Workshop,
    claim: Claim,
    invocation: Invocation,
    recorder: Recorder,
    saver: RunSaver,
    buffer: RunBuffer,
    control: RunControl,
) -> None:
    """Run the graph to its end. Raises whatever its code raises, and what `Resumption.begin` does."""
    graph_id = claim.run.graph_id
    async with workshop.registry.open_graph(
        graph_id,
        checkpointer=saver,
        store=workshop.store,
        config=_hooked(workshop, invocation, recorder),
        context_kind="threads.create_run",
        context=invocation.context,
    ) as graph:
        saver.serde = workshop.serializers.of(graph_id)
        invocation = await Resumption(workshop, claim, saver, buffer).begin(graph, invocation)
        recorder.note_version(saver.stamp)
        if recorder.transcript is not None and graph.stream_transformers:
            recorder.projections = Projections(
                graph, lambda data: recorder.log_event("custom", data), recorder.on_overflow
            )
        config: Any = _hooked(workshop, invocation, recorder)
        async with workshop.tracing.trace(claim.run, saver.stamp.get("topology_hash"), recorder.log_event) as trace:
            config["callbacks"] = [*trace.callbacks, *recorder.callbacks]
            async with recorder.projections or nullcontext():
                with recorder.transcript or nullcontext():
                    await _stream(graph, invocation, config, _options(invocation, control), recorder)


def _hooked(workshop: Workshop, invocation: Invocation, recorder: Recorder) -> RunnableConfig:
    config: Any = dict(invocation.config)
    config["configurable"] = {
        **config["configurable"],
        "__pregel_stream": recorder.stream,
        "__pregel_runtime": Runtime(store=workshop.store, stream_writer=recorder.write_custom),
    }
    return config  # type: ignore[no-any-return]  # made from what a client sent


def _options(invocation: Invocation, control: RunControl) -> JsonObject:
    options: JsonObject = {"durability": pace(invocation.durability), "control": control}
    for key in ("context", "interrupt_before", "interrupt_after"):
        if (value := getattr(invocation, key)) is not None:
            options[key] = value
    return options


async def _stream(
    graph: Any,  # its overloads tell literal arguments apart, ours come from the request
    invocation: Invocation,
    config: RunnableConfig,
    options: JsonObject,
    recorder: Recorder,
) -> None:
    if "events" in invocation.modes:
        async for event in graph.astream_events(invocation.graph_input, config, version="v2", **options):
            recorder.log_event("events", event)
        return
    async for _ in graph.astream(invocation.graph_input, config, stream_mode=[], **options):
        pass  # every event is taken by the hook
