"""Owns the commands `threadline keygen` and `threadline rotate`: what they take. What rotating does is `rotate`'s."""

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

# Adds a command: its name, what it does, the flags it shares with others, and a summary.
Add = Callable[..., argparse.ArgumentParser]
SetUp = Callable[..., Any]


def add_encryption_commands(commands: Any, add: Add, set_up: SetUp) -> None:
    """Add both; `set_up` reads what a command was given."""

    def rotate(options: argparse.Namespace) -> None:
        from threadline.commands.rotate import rotate_keys

        rotate_keys(set_up(options, needs_graphs=False).settings)

    add(commands, "rotate", rotate, ("config", "data-dir"), "encrypt everything that is stored with the first key")
    keygen = add(commands, "keygen", _print_key, (), "print a new key to encrypt with")
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    keygen.add_argument("--id", metavar="ID", default=today, help="the name of the key (default: today's date)")


def _print_key(options: argparse.Namespace) -> None:
    from threadline.commands.rotate import print_key

    print_key(options.id)
