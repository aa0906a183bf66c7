"""Owns what the commands take that move or look back, beside the flags that many share.

Which of them exist, and what they do, is `cli`'s and theirs. Nothing is imported here that a command needs to work.
"""

from argparse import ArgumentParser
from pathlib import Path
from uuid import UUID


def add_adopt_arguments(parser: ArgumentParser) -> None:
    """Which threads become what."""
    parser.add_argument("--graph", metavar="NAME", required=True, help="the graph that the threads belong to")
    parser.add_argument(
        "--metadata", metavar="KEY=VALUE", action="append", default=[], help="what to label them with; repeatable"
    )


def add_doctor_arguments(parser: ArgumentParser) -> None:
    """What is looked at, and in which form it is told."""
    parser.add_argument("--threads", action="store_true", help="list the threads that this code would strand instead")
    parser.add_argument("--json", action="store_true", help="with --threads: all of them, a JSON object in each line")


def add_replay_arguments(parser: ArgumentParser) -> None:
    """Which run is played, and how fast."""
    parser.add_argument("run", metavar="RUN", type=UUID, help="the id of the run")
    parser.add_argument("--thread", metavar="THREAD", type=UUID, help="its thread; for a run that was rolled back")
    parser.add_argument("--speed", default="1", help="a factor, or max (default 1)")
    parser.add_argument("--max-gap", metavar="SECONDS", type=float, default=5.0, help="longest pause (default 5)")
    parser.add_argument("--from", metavar="SEQ", type=int, dest="from_seq", help="number of the first event")
    parser.add_argument("--internal", action="store_true", help="with nodes and attempts")


def add_history_arguments(parser: ArgumentParser) -> None:
    """Which steps are shown."""
    parser.add_argument("thread", metavar="THREAD", type=UUID, help="the id of the thread")
    parser.add_argument("--limit", metavar="N", type=int, default=100, help="the newest N steps (default 100)")
    parser.add_argument("--subgraphs", action="store_true", help="with the steps of subgraphs")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each step")


def add_diff_arguments(parser: ArgumentParser) -> None:
    """What is compared."""
    for name in ("a", "b"):
        parser.add_argument(name, metavar=name.upper(), help="THREAD@CHECKPOINT, or THREAD for its latest")
    parser.add_argument("--json", action="store_true", help="the whole JSON patch, and where the two lie")


def add_fork_arguments(parser: ArgumentParser) -> None:
    """Where a fork begins, and with which changes."""
    parser.add_argument("thread", metavar="THREAD", type=UUID, help="the id of the thread, which stays as it is")
    parser.add_argument("--at", metavar="CHECKPOINT", help="where to begin; by default at the latest checkpoint")
    parser.add_argument(
        "--set", metavar="PATH=VALUE", action="append", default=[], help="a value to change; repeatable"
    )


def add_export_arguments(parser: ArgumentParser) -> None:
    """What is written, and where."""
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="the folder to write to")
    parser.add_argument("--format", choices=("jsonl", "parquet"), default="jsonl", help="default jsonl")
    parser.add_argument("--since", metavar="TIME", help="only threads that changed since then")
    parser.add_argument("--thread", metavar="THREAD", type=UUID, help="only this thread")
