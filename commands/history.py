"""Owns `threadline history`: a thread's steps as a table, or as JSON lines for other tools."""

from uuid import UUID

from rich.table import Table

from threadline.commands.looking_back import describe_patch, describe_seconds, make_console, open_past, print_json
from threadline.commands.stopping import run_until_stopped
from threadline.replay.timeline import Node, TimelineEntry, read_timeline
from threadline.runs.encoding import encode
from threadline.settings import Settings

_COLUMNS = ("checkpoint", "step", "source", "nodes", "took", "waited", "tokens", "what changed")


def show_history(settings: Settings, thread_id: UUID, *, limit: int, subgraphs: bool, as_json: bool) -> None:
    """Print the newest `limit` steps, oldest first. Raises CommandFailed."""
    run_until_stopped(_show(settings, thread_id, limit, subgraphs, as_json))


async def _show(settings: Settings, thread_id: UUID, limit: int, subgraphs: bool, as_json: bool) -> None:
    table = Table(*_COLUMNS, box=None, pad_edge=False)
    async with open_past(settings) as pool:
        async for entry in read_timeline(pool, thread_id, limit=limit, subgraphs=subgraphs):
            if as_json:
                print_json(entry.view())
            else:
                table.add_row(*_cells(entry))
    if not as_json:
        make_console().print(table)


def _cells(entry: TimelineEntry) -> list[str]:
    view = entry.view()
    if entry.step is None:
        place = ["(no checkpoint)", "", ""]
    else:
        ns = f"\n{view['checkpoint_ns']}" if view["checkpoint_ns"] else ""
        place = [f"{view['checkpoint_id']}{ns}", str(view["step"]), str(view["source"])]
    changed = [describe_patch(entry.patch)] if entry.patch else []
    changed += [f"? {encode(question).decode()}" for question in view["interrupts"]]
    changed += [f"(not shown: {', '.join(view['partial'])})"] if view["partial"] else []
    return [
        *place,
        "\n".join(_describe(node) for node in entry.nodes),
        describe_seconds(entry.duration),
        describe_seconds(entry.wait) if entry.wait else "",
        str(view["tokens"] or ""),
        "\n".join(changed),
    ]


def _describe(node: Node) -> str:
    runs = f" ({node.runs} times)" if node.runs > 1 else ""
    return f"{node.name}{runs}: {node.error}" if node.error else f"{node.name}{runs}"
