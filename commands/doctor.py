"""Owns `threadline doctor`: what of a langgraph.json and of an existing database will work here, and what will not.

It imports the project and reads the database; it changes neither.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, distribution

import psycopg

from threadline.checkpoints.aes_vault import CIPHER
from threadline.checkpoints.handler_form import SUFFIX
from threadline.checkpoints.pool import Database
from threadline.checkpoints.survey import Survey, survey
from threadline.checkpoints.vault import Vault
from threadline.commands.databases import configured_database, describe
from threadline.commands.exits import CommandFailed, ExitCode
from threadline.commands.stranded import examine_threads
from threadline.graphs.configuration import Configuration
from threadline.graphs.door import open_door
from threadline.graphs.encryption import load_encryption
from threadline.graphs.errors import ConfigurationError
from threadline.graphs.registry import Registry
from threadline.graphs.storage import read_storage
from threadline.graphs.webhooks import webhook_rules
from threadline.settings import Settings, variables_for_program

OLDEST_POSTGRES = 150_000
NEWEST_SAVER = 9  # the saver's last migration that is known to change nothing we rely on

# Tables of our own that other servers have under the same names.
_OURS = ("assistants", "threads", "runs", "run_events", "crons", "processes", "writers", "documents")
_OF_LANGGRAPH_SERVER = frozenset({"assistant", "thread", "run"})
_PACKAGE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_NEEDED = {CIPHER: "THREADLINE_ENCRYPTION_KEYS", SUFFIX: "the handlers of `encryption`"}
_READ = frozenset({"msgpack", "json", "null", "empty", "bytes", "bytearray"})


class Verdict(StrEnum):
    """How it will go."""

    WORKS = "ok"
    DIFFERS = "warning"
    FAILS = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, and what to do about it where it does not simply work."""

    verdict: Verdict
    subject: str
    text: str


def diagnose(settings: Settings, configuration: Configuration, *, threads: bool, as_json: bool) -> None:
    """Look at the project and the configured database, or at its `threads`. Raises CommandFailed."""
    if threads:
        examine_threads(settings, configuration, as_json=as_json)
    elif as_json:
        raise CommandFailed("--json goes with --threads", ExitCode.MISUSED)
    else:
        examine(configuration, configured_database(settings.database), variables_for_program({}))


def examine(configuration: Configuration, database: Database | None, variables: Mapping[str, str]) -> None:
    """Print what was found, worst last. Raises CommandFailed when something will not work."""
    registry = Registry(configuration)
    findings = [*_examine_project(configuration, registry, variables)]
    if database is not None:
        findings += asyncio.run(_examine_database(registry, database))
    for finding in sorted(findings, key=lambda finding: list(Verdict).index(finding.verdict)):
        print(f"{finding.verdict:8}{finding.subject}: {finding.text}")
    failures = sum(finding.verdict is Verdict.FAILS for finding in findings)
    if failures:
        raise CommandFailed(f"{failures} of {len(findings)} findings must be dealt with first")


def _examine_project(
    configuration: Configuration, registry: Registry, variables: Mapping[str, str]
) -> Iterator[Finding]:
    for notice in configuration.notices:
        yield Finding(Verdict.DIFFERS, notice.key, notice.text)
    yield from _examine_requirements(configuration)
    for graph_id in registry.graph_ids:
        if failure := registry.errors.get(graph_id):
            yield Finding(Verdict.FAILS, f"graphs.{graph_id}", str(failure))
        elif registry.version(graph_id) is None:
            yield Finding(Verdict.WORKS, f"graphs.{graph_id}", "a factory; what it makes shows when it is first run")
        else:
            yield Finding(Verdict.WORKS, f"graphs.{graph_id}", "imported")
    told: set[str] = set()
    for subject, check in (
        ("auth, http", lambda: open_door(configuration)),
        ("store, checkpointer", lambda: read_storage(configuration)),
        ("encryption", lambda: load_encryption(configuration)),
        ("webhooks", lambda: webhook_rules(configuration, variables)),
    ):
        if not any(name in configuration.sections for name in subject.split(", ")):
            continue
        try:
            check()
        except ConfigurationError as error:
            if error.key not in told:  # the door looks at `encryption`, too
                yield Finding(Verdict.FAILS, error.key, error.problem)
            told.add(error.key)
        else:
            yield Finding(Verdict.WORKS, subject, "understood")


def _examine_requirements(configuration: Configuration) -> Iterator[Finding]:
    for text in configuration.requirements:
        name = _PACKAGE.match(text)
        if name is None:
            yield Finding(Verdict.DIFFERS, "dependencies", f"{text!r} is neither a folder nor a package")
            continue
        try:
            distribution(name[0])
        except PackageNotFoundError:
            yield Finding(Verdict.FAILS, "dependencies", f"{text} is not installed in this environment; install it")


async def _examine_database(registry: Registry, database: Database) -> list[Finding]:
    allowed = {
        pair
        for graph_id in registry.graph_ids
        if graph_id not in registry.errors
        for pair in registry.schema_allowlist(graph_id)
    }
    try:
        async with await database.connect("doctor", direct=True) as connection:
            found = await survey(connection, database.schema_name, allowed)
    except psycopg.Error as error:
        return [Finding(Verdict.FAILS, describe(database), " ".join(str(error).split()))]
    return [*_judge_server(found, describe(database)), *_judge_tables(found), *_judge_values(found, database.vault)]


def _judge_server(found: Survey, name: str) -> Iterator[Finding]:
    if found.version < OLDEST_POSTGRES:
        yield Finding(Verdict.FAILS, name, f"is version {found.version // 10_000}; PostgreSQL 15 or newer is needed")
    elif found.encoding != "UTF8":
        yield Finding(Verdict.FAILS, name, f"stores text as {found.encoding}; it must be UTF8")
    else:
        yield Finding(Verdict.WORKS, name, f"answers, version {found.version // 10_000}")
    if not found.is_migrated and not found.may_create:
        text = "this account may not create tables; run `threadline migrate` with one that may"
        yield Finding(Verdict.FAILS, name, text)


def _judge_tables(found: Survey) -> Iterator[Finding]:
    taken = [table for table in _OURS if table in found.tables]
    if taken and not found.is_migrated:
        text = "another program has tables of these names; give Threadline a database of its own"
        yield Finding(Verdict.FAILS, ", ".join(taken), text)
    if not found.has_checkpoints:
        yield Finding(Verdict.WORKS, "checkpoints", "there are none yet")
    elif not found.is_of_the_saver:
        text = "these are not the tables of LangGraph's PostgresSaver"
        if found.tables.keys() >= _OF_LANGGRAPH_SERVER:
            text = "LangGraph Server keeps them in a form of its own"
        yield Finding(
            Verdict.FAILS,
            "checkpoints",
            f"{text}; use a new database, and copy threads through the API: docs/migrating.md",
        )
    elif found.checkpoint_version is not None and found.checkpoint_version > NEWEST_SAVER:
        text = f"set up by a newer saver (version {found.checkpoint_version}, known is {NEWEST_SAVER})"
        yield Finding(Verdict.DIFFERS, "checkpoints", text)
    else:
        yield Finding(Verdict.WORKS, "checkpoints", f"tables of LangGraph's saver, {found.threads} threads")


def _judge_values(found: Survey, vault: Vault) -> Iterator[Finding]:
    if found.unknown:
        text = f"{found.unknown} of {found.threads} are known by their checkpoints only; see `threadline adopt`"
        yield Finding(Verdict.DIFFERS, "threads", text)
    if strange := found.threads - found.addressable:
        text = f"{strange} of {found.threads} have an id that is no UUID; no client of this API can name them"
        yield Finding(Verdict.DIFFERS, "threads", text)
    for kind, count in found.types.items():
        if kind == "pickle":
            text = f"{count} values are pickled; they are never unpickled here, since that runs whatever they hold"
            yield Finding(Verdict.FAILS, "checkpoints", text)
        elif "+" in kind:
            setting = _NEEDED.get(kind[kind.index("+") :], "LANGGRAPH_AES_KEY")
            text = f"{count} values are encrypted ({kind}), and need {setting}: docs/encryption.md"
            yield Finding(Verdict.DIFFERS if vault.seals else Verdict.FAILS, "checkpoints", text)
        elif kind not in _READ:
            yield Finding(Verdict.FAILS, "checkpoints", f"{count} values are of an unknown form, {kind!r}")
    if found.unreadable:
        text = f"{found.unreadable} of {found.sampled} values that were tried cannot be read"
        yield Finding(Verdict.FAILS, "checkpoints", text)
    for name in found.blocked:
        text = f"holds {name}, which no graph declares: it is read as a dict; name it in allowed_msgpack_modules"
        yield Finding(Verdict.DIFFERS, "checkpoints", text)
