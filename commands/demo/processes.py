"""Owns what the system says of processes: who descends from whom, and who is still there."""

import subprocess
from pathlib import Path

_PROC = Path("/proc")


def descendants(pid: int) -> set[int]:
    """Return the processes that `pid` started, and those that they started."""
    parents = _parents()
    found: set[int] = set()
    while more := {child for child, parent in parents.items() if parent in found | {pid}} - found:
        found |= more
    return found


def living(pids: set[int]) -> set[int]:
    """Return those of `pids` that still run."""
    return pids & _parents().keys()


def _parents() -> dict[int, int]:
    """Map each running process to its parent; those that only wait to be noticed are not running."""
    if (_PROC / "self" / "stat").exists():
        states = [_read_stat(folder) for folder in _PROC.glob("[0-9]*")]
    else:
        ps = ["/bin/ps", "-A", "-o", "pid=,state=,ppid="]
        shown = subprocess.run(ps, capture_output=True, text=True, check=True)  # noqa: S603 - a fixed command
        fields = (line.split()[:3] for line in shown.stdout.splitlines())
        states = [(int(pid), state, int(parent)) for pid, state, parent in fields]
    return {pid: parent for pid, state, parent in states if pid and state[0] != "Z"}


def _read_stat(folder: Path) -> tuple[int, str, int]:
    try:
        state, parent = (folder / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[:2]
    except (OSError, ValueError):  # it ended while we looked
        return 0, "Z", 0
    return int(folder.name), state, int(parent)
