"""Owns what `serve` tells the person who started it: where everything is, and how to start a first run."""

import json
import shlex
from importlib.metadata import version

from threadline.commands.link import Report


def print_banner(url: str, database: str, report: Report, *, children: int, is_open: bool) -> None:
    """Print it to standard output. `is_open` says that other machines can reach the server."""
    processes = "1 process" if children == 1 else f"{children} processes"
    lines = [
        "",
        f"Threadline {version('threadline')} serves {url} with {processes}",
        "",
        f"  docs      {url}/docs",
        f"  database  {database}",
        *_graph_lines(report),
    ]
    if is_open:
        lines.append("  note      every machine that reaches this one can use it: there is no sign-in by default")
    lines += ["", *_first_run(url, report), "", "Ctrl-C stops it and everything that it started.", ""]
    print("\n".join(lines), flush=True)


def _graph_lines(report: Report) -> list[str]:
    working = [graph_id for graph_id, error in report.graphs.items() if error is None]
    lines = [f"  graphs    {', '.join(working) or 'none that works'}"]
    return lines + [f"  failed    {error}" for error in report.graphs.values() if error is not None]


def _first_run(url: str, report: Report) -> list[str]:
    graph_id = next((graph_id for graph_id, error in report.graphs.items() if error is None), None)
    if graph_id is None:
        return ["Correct the graphs, and start it again."]
    body = {"assistant_id": graph_id, "input": report.example, "stream_mode": ["updates", "messages-tuple"]}
    return [
        "Start a first run and watch it:",
        "",
        f"  curl -N {url}/runs/stream -H 'Content-Type: application/json' -d \\",
        f"    {shlex.quote(json.dumps(body, ensure_ascii=False))}",
    ]
