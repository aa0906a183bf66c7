"""Owns how a sitting is told: a Markdown page for people, a JSON document for whatever compares sittings."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from threadline.bench.contenders import BURST_CLIENTS, CLIENTS, OFFICIAL, SERVER_1, SERVER_2, Case, Contender
from threadline.bench.figures import (
    Figure,
    Read,
    burst_case,
    busiest_percent,
    cpu_ms,
    events_per_second,
    figure,
    first_event_ms,
    first_values_ms,
    judge,
    latency_ms,
    ratio,
    runs_case,
    runs_per_second,
)
from threadline.bench.machine import Machine
from threadline.bench.sitting import Plan, Results
from threadline.bench.slices import Measure

NOT_MEASURED = "-"
_VERDICTS = {True: "PASS", False: "FAIL", None: "not measured"}


@dataclass(frozen=True, slots=True)
class Report:
    """One sitting and everything it takes to read it."""

    began: datetime
    machine: Machine
    plan: Plan
    warnings: Sequence[str]
    contenders: Sequence[Contender]
    results: Results

    def as_markdown(self) -> str:
        """Return the page."""
        parts = [
            [f"# Benchmark of {self.began:%Y-%m-%d %H:%M} UTC"],
            self._facts(),
            [f"**Warning: {warning}**" for warning in self.warnings],
            ["Runs of the three-node graph: median of the rounds (least - greatest)."],
            self._runs_table(),
            self._server_table(),
            self._targets(),
        ]
        return "\n\n".join("\n".join(part) for part in parts if part) + "\n"

    def as_json(self) -> dict[str, Any]:
        """Return every slice and what was made of them."""
        return {
            "began": self.began,
            "machine": asdict(self.machine),
            "plan": asdict(self.plan),
            "warnings": list(self.warnings),
            "slices": [self._case_as_json(case) for case in self.results.cases],
            "stream_bytes": self.results.stream_bytes,
            "targets": [asdict(target) for target in judge(self.results)],
        }

    def _case_as_json(self, case: Case) -> Mapping[str, Any]:
        rounds = [asdict(result) for result in self.results.cases[case]]
        name, measure = case.contender.name, case.measure
        return {"contender": name, "measure": measure, "clients": case.clients, "rounds": rounds}

    def _facts(self) -> list[str]:
        machine, plan = self.machine, self.plan
        packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
        return [
            f"- {machine.system}, {machine.cores} cores shared by clients, contenders and PostgreSQL;"
            f" load before the start {machine.load:g}",
            f"- Python {machine.python}, PostgreSQL {machine.postgres}, one fsync {machine.fsync_ms:g} ms",
            f"- {packages}; revision {machine.revision or 'unknown'}",
            f"- {plan.rounds} rounds, {plan.seconds:g} s per slice",
        ]

    def _runs_table(self) -> list[str]:
        head = ["", "1 client: runs/s", "median ms"]
        for clients in CLIENTS[1:]:
            head += [f"{clients} clients: runs/s", "x official"]
        return _table([*head, "CPU ms per run at 32"], [self._runs_row(each) for each in self.contenders])

    def _runs_row(self, contender: Contender) -> list[str]:
        alone = runs_case(contender, 1)
        cells = [contender.title, self._cell(alone, runs_per_second), self._cell(alone, latency_ms, 1)]
        for clients in CLIENTS[1:]:
            case = runs_case(contender, clients)
            times = ratio(self.results, case, runs_case(OFFICIAL, clients), runs_per_second)
            cells += [self._cell(case, runs_per_second), f"{times.median:.2f}" if times else NOT_MEASURED]
        return [*cells, self._cell(runs_case(contender, 32), cpu_ms, 2)]

    def _server_table(self) -> list[str]:
        weight = self.results.stream_bytes
        rows = [
            self._latency_row("first event, ms (one stream at a time)", Measure.FIRST_EVENT, first_event_ms, 1),
            self._latency_row("first event of the graph, ms", Measure.FIRST_EVENT, first_values_ms, 1),
            [
                f"bursts of events, events/s ({BURST_CLIENTS} clients)",
                *(self._cell(burst_case(server), events_per_second) for server in (SERVER_1, SERVER_2)),
            ],
            [
                "CPU share of the busiest child, % (runs, 128 clients)",
                *(self._cell(runs_case(server, 128), busiest_percent) for server in (SERVER_1, SERVER_2)),
            ],
            ["an idle stream, kB", NOT_MEASURED if weight is None else f"{weight / 1000:.1f}", NOT_MEASURED],
        ]
        return _table(["whole server", "1 child", "2 children"], rows)

    def _latency_row(self, title: str, measure: Measure, read: Read, digits: int) -> list[str]:
        return [title, *(self._cell(Case(server, measure, 1), read, digits) for server in (SERVER_1, SERVER_2))]

    def _cell(self, case: Case, read: Read, digits: int = 0) -> str:
        return _show(figure(self.results, case, read), digits)

    def _targets(self) -> list[str]:
        return [
            f"- {_VERDICTS[target.met]}: {target.text}" + ("" if target.value is None else f", is {target.value:.2f}")
            for target in judge(self.results)
        ]


def _show(found: Figure | None, digits: int) -> str:
    if found is None:
        return NOT_MEASURED
    spread = "" if found.low == found.high else f" ({found.low:,.{digits}f} - {found.high:,.{digits}f})"
    return f"{found.median:,.{digits}f}{spread}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
