"""Owns the protocol's commands that start, answer and stop runs, all of them recorded for the protocol."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from threadline.api.errors import invalid_model
from threadline.api.protocol_answers import INVALID, Answer, Command, CommandRefused, read_id
from threadline.api.run_requests import run_on_thread
from threadline.api.schemas import RunCreate
from threadline.runs.channels import read_namespace
from threadline.runs.engine import Engine
from threadline.runs.errors import ThreadNotFound, UnknownGraph
from threadline.runs.model import PROTOCOL_MODES, CancelAction, JsonObject, Run, Thread, ThreadStatus
from threadline.runs.questions import Questions

MAX_CANCELLED = 1000
INJECTED_ROLES = ("user", "system")
NO_RUN = "No run was started on this thread."


class RunCommands:
    """Starts, answers and stops the runs of a thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._questions = Questions(engine.pool, engine.threads, engine.queue)

    async def start(self, thread_id: UUID, command: Command) -> Answer:
        """Start a run. Where the thread waits for an answer, the input is that, unless it goes on elsewhere."""
        params = dict(command.params)
        if not params.get("assistant_id"):
            raise CommandRefused(INVALID, "run.start requires an assistant_id.")
        given, checkpoint = _without_checkpoint(params.pop("config", None))
        body: JsonObject = {"input": params.get("input"), "config": given, "if_not_exists": "create", **checkpoint}
        for key in ("assistant_id", "metadata", "langsmith_tracer", "multitask_strategy"):
            if params.get(key) is not None:
                body[key] = params[key]
        thread = await self._find(thread_id)
        if thread is not None and not checkpoint and body["input"] is not None:
            questions = await self._questions.of(thread_id)
            if questions:
                answer = body.pop("input")
                # A single question is named, so that a second answer finds it answered.
                body["command"] = {"resume": {next(iter(questions)): answer} if len(questions) == 1 else answer}
        run = await self._create(thread_id, body)
        return command.succeed({"run_id": str(run.run_id)}, applied_through_seq=_place(thread, run))

    async def respond(self, thread_id: UUID, command: Command) -> Answer:
        """Answer questions of an interrupted thread, all of them in one run."""
        params = command.params
        answers = _read_answers(params)
        thread = await self._found(thread_id, "No interrupted run is bound to this thread.")
        questions = await self._questions.of(thread_id)
        if unknown := [each for each in answers if each not in questions]:
            text = f"Unknown or already-consumed interrupt: {unknown[0]}"
            raise CommandRefused("no_such_interrupt", text)
        resume: JsonObject = {"resume": answers}
        body: JsonObject = {
            "assistant_id": _assistant_of(thread),
            "command": resume | {key: params[key] for key in ("update", "goto") if params.get(key) is not None},
            # Behind the run that asks and is about to end, but behind no other.
            "multitask_strategy": "enqueue" if thread.status is ThreadStatus.BUSY else "reject",
        }
        for key in ("config", "metadata"):
            if params.get(key) is not None:
                body[key] = params[key]
        run = await self._create(thread_id, body)
        return command.succeed({"run_id": str(run.run_id)}, applied_through_seq=_place(thread, run))

    async def inject(self, thread_id: UUID, command: Command) -> Answer:
        """Hand the graph a message: in a run of its own, behind those that are waiting already."""
        message = command.params.get("message")
        if read_namespace(command.params.get("namespace")):
            raise CommandRefused("not_supported", "input.inject reaches the root graph only: leave namespace empty.")
        if not isinstance(message, dict) or message.get("role") not in INJECTED_ROLES:
            raise CommandRefused(INVALID, f"message must be an object whose role is {' or '.join(INJECTED_ROLES)}.")
        if not isinstance(message.get("content"), str):
            raise CommandRefused(INVALID, "message.content must be a string.")
        thread = await self._found(thread_id, NO_RUN)
        await self._check_takes_messages(thread)
        body = {"assistant_id": _assistant_of(thread), "input": {"messages": [message]}}
        run = await self._create(thread_id, body)
        return command.succeed({"run_id": str(run.run_id)}, applied_through_seq=_place(thread, run))

    async def fork(self, thread_id: UUID, command: Command) -> Answer:
        """Start a run at a checkpoint, with an input or without."""
        params = command.params
        checkpoint_id = params.get("checkpoint_id")
        if not isinstance(checkpoint_id, str) or not checkpoint_id:
            raise CommandRefused(INVALID, "state.fork requires a checkpoint_id.")
        thread = await self._found(thread_id, NO_RUN)
        await self._engine.states.get(thread_id, checkpoint_id)
        body: JsonObject = {
            "assistant_id": _assistant_of(thread),
            "checkpoint_id": checkpoint_id,
            "input": params.get("input"),
            "config": _without_checkpoint(params.get("config"))[0],
        }
        run = await self._create(thread_id, body)
        result = {"run_id": str(run.run_id), "thread_id": str(thread_id)}
        return command.succeed(result, applied_through_seq=_place(thread, run))

    async def cancel(self, thread_id: UUID, command: Command) -> Answer:
        """Cancel a run, by default all that the thread has pending or running."""
        action = command.params.get("action") or CancelAction.INTERRUPT
        if action not in list(CancelAction):
            raise CommandRefused(INVALID, f"action must be one of {', '.join(CancelAction)}.")
        if command.params.get("run_id") is not None:
            run_ids = [read_id(command.params["run_id"])]
        else:
            runs = [
                run
                for status in ("pending", "running")
                for run in await self._engine.queue.list(thread_id, limit=MAX_CANCELLED, status=status)
            ]
            run_ids = [run.run_id for run in runs]
            if not runs:
                raise CommandRefused("no_such_run", "No active run is bound to this thread.")
        for run_id in run_ids:
            await self._engine.queue.cancel(thread_id, run_id, CancelAction(action))
        return command.succeed({})

    async def _create(self, thread_id: UUID, body: JsonObject) -> Run:
        """Accept a run that is recorded for the protocol."""
        try:
            wanted = RunCreate.model_validate(body)
        except ValidationError as error:
            raise invalid_model(error, whole="params") from None
        assistant = await self._engine.assistants.get(wanted.assistant_id)
        request = run_on_thread(thread_id, wanted, assistant)
        recorded = {"stream_mode": list(PROTOCOL_MODES), "subgraphs": True, "resumable": True}
        return await self._engine.queue.create(replace(request, kwargs=request.kwargs | recorded))

    async def _find(self, thread_id: UUID) -> Thread | None:
        try:
            return await self._engine.threads.get(thread_id)
        except ThreadNotFound:
            return None

    async def _found(self, thread_id: UUID, otherwise: str) -> Thread:
        thread = await self._find(thread_id)
        if thread is None:
            raise CommandRefused("no_such_run", otherwise)
        return thread

    async def _check_takes_messages(self, thread: Thread) -> None:
        graph_id = str(thread.metadata.get("graph_id", ""))
        config: Any = {"configurable": {"thread_id": str(thread.thread_id)}}
        if graph_id not in self._engine.registry.graph_ids:
            raise UnknownGraph(f"The graph of this thread, {graph_id!r}, is not served here.")
        async with self._engine.registry.open_graph(
            graph_id, checkpointer=None, store=None, config=config, context_kind="threads.read"
        ) as graph:
            if "messages" not in graph.channels:
                raise CommandRefused("not_supported", f"The state of graph {graph_id!r} has no messages.")


def _assistant_of(thread: Thread) -> str:
    """The assistant of the thread's last run."""
    assistant_id = thread.metadata.get("assistant_id")
    if not isinstance(assistant_id, str):
        raise CommandRefused("no_such_run", NO_RUN)
    return assistant_id


def _place(before: Thread | None, run: Run) -> int:
    """The number of the last event that the run has nothing to do with, which clients need not read any more.

    0 while another run is at work: what it still tells comes behind that number and before the new run's events.
    """
    return 0 if before is None or before.status is ThreadStatus.BUSY else run.start_seq


def _without_checkpoint(config: Any) -> tuple[JsonObject | None, JsonObject]:
    """Take the checkpoint to go on from out of a config, where the protocol's clients put it."""
    if config is None:
        return None, {}
    if not isinstance(config, dict):
        raise CommandRefused(INVALID, "config must be an object.")
    configurable = config.get("configurable")
    if not isinstance(configurable, dict):
        return config, {}
    names = ("checkpoint_id", "checkpoint_ns", "checkpoint_map")
    checkpoint = {name: configurable[name] for name in names if configurable.get(name)}
    rest = {name: value for name, value in configurable.items() if name not in names}
    return {**config, "configurable": rest}, {"checkpoint": checkpoint} if "checkpoint_id" in checkpoint else {}


def _read_answers(params: JsonObject) -> JsonObject:
    """Return the answers by the ids of the questions. Raises CommandRefused."""
    entries = params.get("responses", [params])
    if not isinstance(entries, list) or not entries:
        raise CommandRefused(INVALID, "input.respond requires at least one response.")
    answers: JsonObject = {}
    for entry in entries:
        interrupt_id = entry.get("interrupt_id") if isinstance(entry, dict) else None
        if not isinstance(interrupt_id, str) or not interrupt_id:
            raise CommandRefused(INVALID, "input.respond requires an interrupt_id.")
        if interrupt_id in answers:
            raise CommandRefused(INVALID, f"input.respond answers {interrupt_id} twice.")
        answers[interrupt_id] = entry.get("response")
    return answers
