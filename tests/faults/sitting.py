"""Owns a sitting of the fault laboratory, from an empty folder to a verdict."""

import json
import logging
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from threadline.checkpoints.migrate import migrate
from threadline.checkpoints.pool import Database
from threadline.tests.faults import archive, graphs
from threadline.tests.faults.checker import ANSWERS, CLIENTS, PROCESSES, Violation, check
from threadline.tests.faults.clients import Notes
from threadline.tests.faults.collecting import collect
from threadline.tests.faults.database import LabDatabase, open_database, small_disk
from threadline.tests.faults.facts import History
from threadline.tests.faults.faults import MIXED
from threadline.tests.faults.load import Load, open_clients, run_calmly
from threadline.tests.faults.members import open_roster
from threadline.tests.faults.orders import KINDS, Kind
from threadline.tests.faults.playing import Journal, play, play_in_turn
from threadline.tests.faults.recovery import Recovery, measure
from threadline.tests.faults.schedule import Moment, make_rounds, make_schedule
from threadline.tests.faults.site import Site
from threadline.tests.laboratory.locks import until

logger = logging.getLogger("faults")

SMALL = (("api", 0), ("worker", 0), ("worker", 0))
LARGE = (*SMALL, ("serve", 2))
_IN_FLIGHT = "select count(*) from runs where status in ('pending', 'running')"


@dataclass(frozen=True)
class Plan:
    """What a sitting is to be. `pace` is the mean of the seconds between faults, `guard` what workers do without.

    With `rounds` each fault comes so many times, whenever all have got over the one before, however long it takes.
    With `moments` these are the faults, instead of what the seed says.
    """

    seed: int
    seconds: float
    faults: Sequence[str] = MIXED
    pace: float = 6.0
    clients: int = 8
    pause: float = 0.5
    roles: Sequence[tuple[str, int]] = LARGE
    kinds: Sequence[Kind] = KINDS
    crowds: float = 0.25
    guard: str = ""
    rounds: int = 0
    moments: Sequence[Moment] = ()
    patience: float = 240.0  # seconds for what is under way in the end


@dataclass
class Sitting:
    """What came of a plan."""

    plan: Plan
    folder: Path
    history: History
    violations: list[Violation]
    recoveries: list[Recovery]
    notes: Notes
    times: Counter[str] = field(default_factory=Counter)
    left_out: list[str] = field(default_factory=list)


async def sit(plan: Plan) -> Sitting:
    """Carry a plan out. The folder is removed if nothing was violated; else it has all that was seen."""
    folder = _make_folder()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the SDK's, when it is cut before its first event
            sitting = await _sit(plan, folder)
    except BaseException as error:
        error.add_note(f"What was seen of this sitting, seed {plan.seed}, is in {folder}.")
        raise
    if sitting.violations:
        _keep(sitting)
    else:
        shutil.rmtree(folder)
    return sitting


def _make_folder() -> Path:
    """One that the account of PostgreSQL can enter."""
    folder = Path(tempfile.mkdtemp(prefix="threadline-faults-"))
    folder.chmod(0o755)
    return folder


async def _sit(plan: Plan, folder: Path) -> Sitting:
    notes = Notes()
    with small_disk(folder) as disk:
        async with _open_site(plan, folder, disk, notes) as site:
            left_out = [fault for fault in plan.faults if disk is None and fault == "the disk full"]
            faults = [fault for fault in plan.faults if fault not in left_out]
            schedule = plan.moments or _schedule(plan, faults)
            calm = await run_calmly(site.clients.http)
            load = Load(site.clients, notes, plan.seed, plan.kinds, plan.crowds)
            load.start(plan.clients, plan.pause)
            journal = Journal(folder / "journal")
            if plan.rounds:
                await play_in_turn(site, schedule, journal)
            else:
                await play(site, schedule, plan.seconds, journal)
            site.roster.heal()
            await site.roster.start()
            late = await load.stop(plan.patience)
            await _settle(site.database)
            history = await collect(site.database, notes, folder / "effects", calm)
            violations = [*check(history), *_judge_conduct(site, late)]
            recoveries = measure(history, site.losses, site.database.outages)
            return Sitting(plan, folder, history, violations, recoveries, notes, journal.times, left_out)


def _judge_conduct(site: Site, late: Sequence[str]) -> Iterator[Violation]:
    """What no history shows: wrong answers, clients that wait for ever, processes that end by themselves."""
    for told in site.notes.refused:
        yield Violation(ANSWERS, told)
    for client in late:
        yield Violation(CLIENTS, client)
    for member in site.roster.members:
        member.note_end()
        for crash in member.crashes:
            yield Violation(PROCESSES, crash)


@asynccontextmanager
async def _open_site(plan: Plan, folder: Path, disk: Path | None, notes: Notes) -> AsyncIterator[Site]:
    _write_project(folder)
    async with open_database(folder, disk) as database:
        await migrate(Database(database.dsn))
        async with open_roster(database, folder, plan.roles, plan.guard) as roster:
            await roster.start()
            async with open_clients(roster.url) as clients:
                yield Site(database, roster, clients, notes, block=min(60.0, plan.seconds / 6))


def _write_project(folder: Path) -> None:
    served = {name: f"{graphs.__file__}:{name}" for name in graphs.NAMES}
    environment = {graphs.EFFECTS: str(folder / "effects")}
    (folder / "langgraph.json").write_text(json.dumps({"graphs": served, "env": environment}))


def _schedule(plan: Plan, faults: Sequence[str]) -> list[Moment]:
    if plan.rounds:
        return make_rounds(plan.seed, plan.rounds, faults)
    return make_schedule(plan.seed, plan.seconds, faults, plan.pace)


async def _settle(database: LabDatabase) -> None:
    """Wait until no run is under way any more; what still is then, is found by the checker."""

    async def is_quiet() -> bool:
        try:
            return bool((await database.rows(_IN_FLIGHT)) == [(0,)])
        except psycopg.Error:
            return False

    try:
        await until(is_quiet, "no run is under way", 60)
    except TimeoutError as error:
        logger.warning(str(error))


def _keep(sitting: Sitting) -> None:
    """Put down what is needed to understand a violation, and to bring it about again."""
    folder = sitting.folder
    (folder / "plan").write_text(f"{sitting.plan}\n")
    lines = [f"{violation.rule}: {violation.what}\n" for violation in sitting.violations]
    (folder / "violations").write_text("".join(lines))
    archive.write(sitting.history, folder / "facts.json")
