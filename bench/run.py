"""Owns the benchmark's command line: one sitting, told as a table and kept as JSON. `--help` has the options."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import TypeVar

import orjson

from threadline.bench.children import ContenderFailed
from threadline.bench.contenders import CONTENDERS
from threadline.bench.machine import Machine, current_load, describe_machine, read_revision
from threadline.bench.postgres import Postgres, open_postgres
from threadline.bench.report import Report
from threadline.bench.sitting import Plan, hold_sitting

ROOT = Path(__file__).resolve().parents[1]
Number = TypeVar("Number", int, float)
NAMES = [contender.name for contender in CONTENDERS]


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; `--quick` only changes defaults."""
    parser = argparse.ArgumentParser(prog="bench/run.py", description="Measure Threadline and what it stands beside.")
    parser.add_argument("--rounds", type=_positive(int), help="how often each case is measured (default 5)")
    parser.add_argument("--seconds", type=_positive(float), help="how long a slice takes (default 3)")
    parser.add_argument("--only", action="append", choices=NAMES, help="measure this contender; may be repeated")
    parser.add_argument("--quick", action="store_true", help="1 round of 0.5 s: does it run? The numbers mean nothing")
    parser.add_argument("--postgres", metavar="DSN", help="a server that may create databases, instead of our own")
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results", help="folder for the results")
    found = parser.parse_args(arguments)
    found.rounds = found.rounds or (1 if found.quick else 5)
    found.seconds = found.seconds or (0.5 if found.quick else 3.0)
    return found


def _positive(kind: type[Number]) -> Callable[[str], Number]:
    def read(text: str) -> Number:
        if not (value := kind(text)) > 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    read.__name__ = "number"  # what argparse says was expected of text that is none
    return read


async def hold(arguments: argparse.Namespace, folder: Path) -> Report:
    """Hold a sitting with its data in `folder`. Raises ContenderFailed."""
    stop_on_signal()
    began, load = datetime.now(UTC), current_load()
    plan = Plan(arguments.rounds, arguments.seconds)
    contenders = [each for each in CONTENDERS if not arguments.only or each.name in arguments.only]
    async with open_postgres(arguments.postgres, folder / "postgres") as postgres:
        machine = describe_machine(load, await read_revision(ROOT), postgres.version, folder)
        warnings = list_warnings(machine, postgres, quick=arguments.quick)
        for warning in warnings:
            tell(f"warning: {warning}")
        results = await hold_sitting(plan, contenders, postgres, folder, tell)
    return Report(began, machine, plan, warnings, contenders, results)


def list_warnings(machine: Machine, postgres: Postgres, *, quick: bool) -> list[str]:
    """Return what makes the numbers worth less than they look."""
    warnings = []
    if quick:
        warnings.append("this was a trial of the benchmark itself: its numbers mean nothing")
    if machine.is_busy:
        warnings.append(f"the machine was busy before the start (load {machine.load:g} on {machine.cores} cores)")
    if postgres.relaxed:
        warnings.append(f"PostgreSQL was not durable: {', '.join(postgres.relaxed)}")
    return warnings


def tell(progress: str) -> None:
    """Say what goes on, apart from the results."""
    print(f"{datetime.now():%H:%M:%S} {progress}", file=sys.stderr, flush=True)


def keep(report: Report, folder: Path) -> Path:
    """Write both forms of the report and return the path of the JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{report.began:%Y%m%dT%H%M%SZ}.json"
    path.write_bytes(orjson.dumps(report.as_json(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    (folder / "latest.md").write_text(report.as_markdown(), "utf-8")
    return path


def stop_on_signal() -> None:
    """Let SIGTERM end the sitting as Ctrl-C does: with nothing left behind."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def main(arguments: argparse.Namespace) -> None:
    """Hold a sitting and tell it."""
    # Beside the project and not among temporary files, which may lie in memory: fsync would cost nothing there.
    base = ROOT / ".threadline"
    base.mkdir(exist_ok=True)
    folder = Path(mkdtemp(prefix="bench-", dir=base))
    try:
        report = asyncio.run(hold(arguments, folder))
    finally:
        rmtree(folder)
    print(report.as_markdown())
    tell(f"written: {keep(report, arguments.results)}")


if __name__ == "__main__":
    try:
        main(read_arguments())
    except ContenderFailed as error:
        sys.exit(f"bench: {error}")
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("bench: stopped")
