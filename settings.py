"""Owns what can be set, in which unit and why the default is what it is; the parts that use it own the rest.

Only entry points call `load_settings`. Everything below them is handed a section, or one value of it.
"""

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import model_validator

from threadline.environment import (
    AesKey,
    Certificates,
    Count,
    Days,
    Delay,
    EncryptionKeys,
    Environment,
    Expects,
    Flag,
    Host,
    HttpUrl,
    Interval,
    Location,
    LogLevel,
    Name,
    Port,
    PostgresUrl,
    SchemaName,
    Secret,
    Section,
    SettingsError,
    Share,
    SigningKeys,
    Source,
    Words,
    read_env_file,
    variables,
)
from threadline.keeping import KeepSettings

__all__ = [
    "ApiSettings",
    "DatabaseSettings",
    "FetchSettings",
    "KeepSettings",
    "ModelSettings",
    "ServerSettings",
    "Settings",
    "SettingsError",
    "TracingSettings",
    "WebhookSettings",
    "WorkerSettings",
    "export_variables",
    "load_settings",
    "variables_for_program",
]

POLL_WITHOUT_HINTS = timedelta(milliseconds=100)  # where no NOTIFY can arrive: what a hint would have saved


class DatabaseSettings(Section):
    """Where PostgreSQL is, and how it keeps things. Without `url` the program brings its own, kept under `data_dir`."""

    url: Annotated[PostgresUrl, variables("DATABASE_URL", "DATABASE_URI", "POSTGRES_URI")] = None
    # One writer per process leaves reads and claims to share these; more would only queue in PostgreSQL.
    pool_size: Annotated[Count, variables("DATABASE_POOL_SIZE")] = 16
    # Off: a direct connection may prepare statements, PgBouncer in transaction mode may not.
    pooler: Annotated[Flag, variables("DATABASE_POOLER")] = False
    # Where everybody looks; one of its own lets several of us share a database without seeing each other.
    schema_name: Annotated[SchemaName, variables("DATABASE_SCHEMA")] = "public"
    # Past the pooler, for LISTEN; without it, waiting is polling.
    direct_url: Annotated[PostgresUrl, variables("DATABASE_DIRECT_URL")] = None
    # Only for the server of our own; unset, the packaged binaries are taken, then those on PATH.
    bindir: Annotated[Location | None, Expects("a path"), variables("PG_BINDIR")] = None
    # Beside the project, so that a second project has a second server.
    data_dir: Annotated[Location, variables("THREADLINE_DATA_DIR")] = Path(".threadline")
    # The first one encrypts, all decrypt: a new key comes first, and old ones go once nothing needs them.
    encryption_keys: Annotated[EncryptionKeys, variables("THREADLINE_ENCRYPTION_KEYS")] = None
    # Off: whoever can write to the database could leave there what nobody encrypted.
    reads_plaintext: Annotated[Flag, variables("THREADLINE_ENCRYPTION_READ_PLAINTEXT")] = False
    # What LangGraph's own serialiser encrypts with; alone, a key made from it encrypts here, too.
    langgraph_aes_key: Annotated[AesKey, variables("LANGGRAPH_AES_KEY")] = None

    @model_validator(mode="after")
    def _direct_goes_past_something(self) -> "DatabaseSettings":
        if self.direct_url is not None and self.url is None:
            raise ValueError("DATABASE_DIRECT_URL='***' is refused: it must have DATABASE_URL beside it")
        return self


class ServerSettings(Section):
    """How the commands listen and log."""

    # This machine only, until somebody says otherwise: there is no sign-in by default.
    host: Annotated[Host, variables("THREADLINE_HOST")] = "127.0.0.1"
    # The port that clients of a deployed LangGraph Server look for; 0 takes a free one.
    port: Annotated[Port, variables("THREADLINE_PORT", "PORT")] = 8123
    # Add one for each core that would stay idle: each serves, claims and runs by itself.
    workers: Annotated[Count, variables("THREADLINE_WORKERS")] = 1
    # The file that the official tools read, too.
    config: Annotated[Location, variables("THREADLINE_CONFIG")] = Path("langgraph.json")
    # One line for each change of a run's state; debug adds what happens between.
    log_level: Annotated[LogLevel, variables("LOG_LEVEL")] = "info"
    # Off: a person reads the first log, a collector the later ones.
    log_json: Annotated[Flag, variables("LOG_JSON")] = False


class WorkerSettings(Section):
    """How runs are claimed, kept and stopped."""

    # A run mostly waits for its model; past this many, a Python process gets slower, not busier.
    run_concurrency: Annotated[Count, variables("THREADLINE_RUN_CONCURRENCY", "N_JOBS_PER_WORKER")] = 128
    # A process that missed every renewal for this long is dead, and its runs are taken over.
    lease: Annotated[Interval, variables("THREADLINE_LEASE_SECONDS")] = timedelta(seconds=3)
    # Six chances in a lease; more than a third of it is refused.
    lease_renew: Annotated[Interval, variables("THREADLINE_LEASE_RENEW_SECONDS")] = timedelta(seconds=0.5)
    # Only what a lost hint costs; 0.1 by default where DATABASE_POOLER is on without DATABASE_DIRECT_URL.
    poll: Annotated[Interval, variables("THREADLINE_POLL_SECONDS")] = timedelta(seconds=0.5)
    # Long agent runs are normal; one that hangs must still end.
    run_timeout: Annotated[Interval, variables("BG_JOB_TIMEOUT_SECS")] = timedelta(hours=1)
    # Keep it under the container's stop grace period, or the container is killed while it drains.
    drain: Annotated[Delay, variables("BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS")] = timedelta(seconds=20)
    # A run that took this many processes with it is the cause, not the victim.
    max_attempts: Annotated[Count, variables("THREADLINE_MAX_ATTEMPTS")] = 5

    @model_validator(mode="after")
    def _renews_in_time(self) -> "WorkerSettings":
        if self.lease_renew > self.lease / 3:
            renew, lease = self.lease_renew.total_seconds(), self.lease.total_seconds()
            raise ValueError(
                f"THREADLINE_LEASE_RENEW_SECONDS='{renew:g}' is refused: it must be at most a third of "
                f"THREADLINE_LEASE_SECONDS='{lease:g}', so that a process outlives a lost renewal"
            )
        return self


class ApiSettings(Section):
    """What clients may ask for, and how long they wait without a sign of life."""

    # 8 MiB: far above any chat, and small enough for a hundred of them at once.
    max_body_bytes: Annotated[Count, variables("THREADLINE_MAX_BODY_BYTES")] = 8 * 1024 * 1024
    # Proxies cut connections that stay silent for 30 to 60 seconds; users doubt earlier.
    heartbeat: Annotated[Interval, variables("THREADLINE_HEARTBEAT_SECONDS")] = timedelta(seconds=5)
    # A longer queue is an outage that nobody has noticed yet.
    max_pending_runs: Annotated[Count, variables("THREADLINE_MAX_PENDING_RUNS")] = 10_000
    # Open, like the official server: a page on another port can try the API at once.
    cors_allow_origins: Annotated[Words, variables("CORS_ALLOW_ORIGINS")] = ("*",)


class ModelSettings(Section):
    """Which model the shipped workflow asks. Without a key it uses its own offline one."""

    openai_api_key: Annotated[Secret, variables("OPENAI_API_KEY")] = None
    # For servers that speak the same protocol; unset, the client library's own address.
    openai_base_url: Annotated[HttpUrl, variables("OPENAI_BASE_URL")] = None
    # Small and cheap: planning with a few tools needs no more.
    name: Annotated[Name, variables("MODEL")] = "gpt-4o-mini"
    # Whoever names two models can do without one for a while.
    fallback: Annotated[Name | None, variables("MODEL_FALLBACK")] = None
    # Long thinking before the first word is normal; a minute of it is a stall.
    timeout: Annotated[Interval, variables("MODEL_TIMEOUT_SECONDS")] = timedelta(seconds=60)
    # Retries and the fallback must fit in, and nobody waits longer for an answer.
    deadline: Annotated[Interval, variables("MODEL_DEADLINE_SECONDS")] = timedelta(seconds=300)
    # Small models hold no more; what is older is summarised.
    context_tokens: Annotated[Count, variables("MODEL_CONTEXT_TOKENS")] = 32_000
    # A turn with six steps and long sources stays under it; a loop does not. Runs may set their own.
    max_tokens_per_run: Annotated[Count, variables("MODEL_MAX_TOKENS_PER_RUN")] = 100_000
    # Words alone find much; meanings cost a call for each search, and pgvector.
    embedding: Annotated[Name | None, variables("EMBEDDING_MODEL")] = None
    # Off: a model of any size worth paying for calls tools better than rules do.
    answers_only: Annotated[Flag, variables("MODEL_ANSWERS_ONLY")] = False


class FetchSettings(Section):
    """What the shipped workflow's web page tool may reach."""

    # Off: a page could name an address inside, and the answer would tell what is there.
    allow_loopback: Annotated[Flag, variables("THREADLINE_FETCH_LOOPBACK")] = False
    # Companies have authorities of their own, which the machine need not know; unset, the machine's are trusted.
    ca_file: Annotated[
        Certificates | None,
        Expects("a readable PEM file of certificates"),
        variables("SSL_CERT_FILE"),
    ] = None


class WebhookSettings(Section):
    """Where webhooks may go, what they are signed with, and for how long it can be read what became of them."""

    # Off: whoever may start a run could call what listens on this machine.
    allow_loopback: Annotated[Flag, variables("THREADLINE_WEBHOOK_ALLOW_LOOPBACK")] = False
    # Several, while receivers move from one to the next: each signs. Unset, nothing is signed.
    secrets: Annotated[SigningKeys, variables("THREADLINE_WEBHOOK_SECRET")] = ()
    # Long enough for "did you get it?"; each holds a copy of what the run left. Fires of crons, too.
    settled_days: Annotated[Days, variables("THREADLINE_SETTLED_DAYS")] = 7
    # What was given up waits for a person, who may be on holiday.
    dead_days: Annotated[Days, variables("THREADLINE_DEAD_DAYS")] = 30


class TracingSettings(Section):
    """Whether runs are traced in LangSmith, and what becomes of traces that it does not take."""

    # Off, and without a key off too: nothing leaves your machines until somebody says so.
    enabled: Annotated[Flag, variables("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2")] = False
    # Checked by nobody before the first trace; a wrong one shows in the log, and the traces in the spool.
    api_key: Annotated[Secret, variables("LANGSMITH_API_KEY", "LANGCHAIN_API_KEY")] = None
    # For a LangSmith of your own; unset, the hosted one.
    endpoint: Annotated[HttpUrl, variables("LANGSMITH_ENDPOINT", "LANGCHAIN_ENDPOINT")] = None
    # Only keys of a whole organisation need it.
    workspace_id: Annotated[Name | None, Expects("an id"), variables("LANGSMITH_WORKSPACE_ID")] = None
    # What LangSmith itself calls the project of those that named none.
    project: Annotated[Name, variables("LANGSMITH_PROJECT", "LANGCHAIN_PROJECT")] = "default"
    # Decided before a run starts, by its id: a run that is left out costs nothing.
    sampling_rate: Annotated[Share, variables("LANGSMITH_TRACING_SAMPLING_RATE")] = 1.0
    # Structure, times and errors are enough where states hold what LangSmith must not see.
    hide_inputs: Annotated[Flag, variables("LANGSMITH_HIDE_INPUTS")] = False
    # The same for what nodes, models and tools return.
    hide_outputs: Annotated[Flag, variables("LANGSMITH_HIDE_OUTPUTS")] = False
    # Memory stays bounded when traces come faster than they can be packed; what is over it is counted.
    queue_size: Annotated[Count, variables("LANGSMITH_TRACING_QUEUE_MAX_SIZE")] = 10_000
    # Unset, the folder `traces` in the data directory.
    spool_dir: Annotated[Location | None, Expects("a path"), variables("LANGSMITH_FAILED_TRACES_DIR")] = None
    # A dead endpoint must not fill the disk; what is over it is counted as dropped.
    spool_megabytes: Annotated[Count, variables("LANGSMITH_FAILED_TRACES_MAX_MB")] = 100
    # Two seconds deliver what a healthy endpoint can take; the rest is spooled, never waited for.
    flush: Annotated[Delay, variables("THREADLINE_TRACE_FLUSH_SECONDS")] = timedelta(seconds=2)
    # Off: a caller who is believed writes into your traces.
    accept_parents: Annotated[Flag, variables("THREADLINE_TRACE_PARENTS")] = False


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set, by the part that it is for."""

    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    api: ApiSettings = field(default_factory=ApiSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    fetch: FetchSettings = field(default_factory=FetchSettings)
    webhooks: WebhookSettings = field(default_factory=WebhookSettings)
    tracing: TracingSettings = field(default_factory=TracingSettings)
    keep: KeepSettings = field(default_factory=KeepSettings)


def load_settings(
    flags: Mapping[str, str] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    env_file: Path = Path(".env"),
    graphs: Source | None = None,
) -> Settings:
    """Read the settings; `flags` (variable to value) win over `environ`, that over `env_file`, that over `graphs`.

    `graphs` are the variables that a langgraph.json gives its graphs.
    Raises SettingsError with one line for each thing that is wrong.
    """
    environment = Environment(
        (
            Source("the command line", flags or {}),
            Source("the environment", environ),
            read_env_file(env_file),
            graphs or Source("langgraph.json", {}),
        )
    )
    database = environment.read(DatabaseSettings)
    worker = environment.read(WorkerSettings)
    if database.pooler and database.direct_url is None and "poll" not in worker.model_fields_set:
        worker = worker.model_copy(update={"poll": POLL_WITHOUT_HINTS})
    settings = Settings(
        database=database,
        server=environment.read(ServerSettings),
        worker=worker,
        api=environment.read(ApiSettings),
        model=environment.read(ModelSettings),
        fetch=environment.read(FetchSettings),
        webhooks=environment.read(WebhookSettings),
        tracing=environment.read(TracingSettings),
        keep=environment.read(KeepSettings),
    )
    environment.reject_misspelt()
    if environment.problems:
        raise SettingsError("\n".join(environment.problems))
    return settings


def export_variables(values: Mapping[str, str], environ: MutableMapping[str, str] = os.environ) -> None:
    """Give the graphs of this process the variables of their langgraph.json; one that is set already stays."""
    for name, value in values.items():
        environ.setdefault(name, value)


def variables_for_program(changes: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables for a program that this one starts: its own, with some changed."""
    return {**environ, **changes}
