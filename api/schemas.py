"""Owns what clients may send: the bodies of requests, with their limits. What they mean is decided behind them.

Names that are not here are ignored, as clients of the original expect.
"""

from datetime import timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from threadline.runs.metadata import refuse_unstorable
from threadline.runs.model import JsonObject, MultitaskStrategy

MAX_PAGE = 1000
MAX_OFFSET = 2**31
TEN_YEARS = timedelta(days=3650).total_seconds()

StreamMode = Literal[
    "values", "updates", "messages", "messages-tuple", "custom", "tasks", "checkpoints", "debug", "events"
]
SortOrder = Literal["asc", "desc"]
RunField = Literal[
    "run_id",
    "thread_id",
    "assistant_id",
    "created_at",
    "updated_at",
    "status",
    "metadata",
    "kwargs",
    "multitask_strategy",
    "langsmith_session_name",
]


def expects(form: str) -> WrapValidator:
    """Tell a client what a value of several forms must be, where pydantic would list each form's own problem."""

    def validate(value: Any, validator: ValidatorFunctionWrapHandler) -> Any:
        try:
            return validator(value)
        except ValidationError:
            raise PydanticCustomError("expected", "must be {form}", {"form": form}) from None

    return WrapValidator(validate)


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _values_only() -> list[StreamMode]:
    return ["values"]


def _or_values(modes: list[StreamMode]) -> list[StreamMode]:
    return list(dict.fromkeys(modes)) or _values_only()


def _refuse_unstorable(metadata: JsonObject) -> JsonObject:
    refuse_unstorable(metadata, "metadata")
    return metadata


def _refuse(value: object) -> None:
    if value not in (None, [], {}):
        raise PydanticCustomError("unsupported", "not supported by this server yet, leave it out")


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("nul", "must not hold U+0000")
    return text


def _none_as_object(value: object) -> object:
    return {} if value is None else value


# Refused rather than ignored: a client that asks for a webhook must not wait for it in vain.
Unsupported = Annotated[Any, AfterValidator(_refuse)]
Text = Annotated[str, AfterValidator(_without_nul)]
Object = Annotated[JsonObject, BeforeValidator(_none_as_object)]
Limit = Annotated[StrictInt, Field(ge=1, le=MAX_PAGE)]
Offset = Annotated[StrictInt, Field(ge=0, le=MAX_OFFSET)]
StreamModes = Annotated[list[StreamMode], BeforeValidator(_as_list), AfterValidator(_or_values)]
NodeNames = Annotated[Literal["*"] | list[str], expects('"*" for all nodes, or a list of node names')]
CheckpointReference = Annotated[
    str | JsonObject, expects("a checkpoint's id, or an object with its checkpoint_id and checkpoint_ns")
]
Metadata = Annotated[Object, AfterValidator(_refuse_unstorable)]


class Body(BaseModel):
    """The body of a request."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ThreadFork(Body):
    """Where a fork begins: at a checkpoint, the latest by default, with values set at paths such as `plan.0.query`."""

    checkpoint_id: str | None = None
    set: Object = Field(default_factory=dict)


class Send(Body):
    """A node to run next, with the input for it."""

    node: str
    input: Any = None


class Command(Body):
    """What to do instead of starting with an input: answer interrupts, change the state, go elsewhere."""

    update: Annotated[
        JsonObject | list[Any] | None, expects("an object of values, or a list of [name, value] pairs")
    ] = None
    resume: Any = None
    goto: Annotated[
        str | Send | list[str | Send] | None, expects("a node's name, a {node, input} object, or a list of these")
    ] = None


class RunConfig(Body):
    """LangGraph's run config, as far as a client may set it; names that are not here are handed on."""

    model_config = ConfigDict(extra="allow", frozen=True)

    tags: list[str] | None = None
    recursion_limit: Annotated[StrictInt, Field(ge=1, le=2**31)] | None = None
    configurable: JsonObject | None = None


class LangsmithTracer(Body):
    """Where the run's trace goes in LangSmith, and the example of a dataset that the run is about."""

    project_name: Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_without_nul)] | None = None
    example_id: UUID | None = None


class RunOptions(Body):
    """What a run is made from, whichever assistant it is of."""

    input: Any = None
    command: Command | None = None
    metadata: Metadata = Field(default_factory=dict)
    config: RunConfig | None = None
    context: JsonObject | None = None
    stream_mode: StreamModes = Field(default_factory=_values_only)
    stream_subgraphs: StrictBool = False
    stream_resumable: StrictBool = False
    interrupt_before: NodeNames | None = None
    interrupt_after: NodeNames | None = None
    multitask_strategy: MultitaskStrategy = MultitaskStrategy.ENQUEUE
    if_not_exists: Literal["create", "reject"] = "reject"
    after_seconds: Annotated[float, Field(ge=0, le=TEN_YEARS, strict=True)] | None = None
    checkpoint: CheckpointReference | None = None
    checkpoint_id: str | None = None
    checkpoint_during: StrictBool | None = None
    durability: Literal["sync", "async", "exit"] | None = None
    on_disconnect: Literal["cancel", "continue"] = "continue"
    on_completion: Literal["delete", "keep"] = "delete"
    webhook: Annotated[Text, Field(min_length=1, max_length=65_536)] | None = None
    feedback_keys: list[Annotated[Text, Field(min_length=1, max_length=180)]] | None = None
    langsmith_tracer: LangsmithTracer | None = None


class RunCreate(RunOptions):
    """A run to create; `assistant_id` takes the name of a graph, too."""

    assistant_id: Annotated[str, Field(min_length=1)]
