"""Owns the command `python -m threadline.tests.faults`, behind `make faults`."""

import argparse
import asyncio
import logging
import random
import signal
import sys
from pathlib import Path

from threadline.tests.faults.archive import read
from threadline.tests.faults.checker import check
from threadline.tests.faults.faults import FAULTS, LOSING, MIXED
from threadline.tests.faults.orders import KINDS, LONG
from threadline.tests.faults.report import describe
from threadline.tests.faults.sitting import LARGE, SMALL, Plan, sit


def main() -> int:
    """Hold one sitting, and tell it; 1 when something was violated."""
    options = _parse()
    if options.judge is not None:
        violations = check(read(options.judge / "facts.json"))
        print(*(f"{violation.rule}: {violation.what}" for violation in violations), sep="\n")
        return 1 if violations else 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was started must end, too
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("faults").setLevel(logging.INFO)
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    plan = Plan(
        seed=seed,
        seconds=options.seconds,
        faults=tuple(options.only or (LOSING if options.recovery else MIXED)),
        rounds=options.recovery,
        kinds=LONG if options.recovery else KINDS,
        pause=options.pause,
        pace=options.pace,
        clients=options.clients,
        roles=SMALL if options.small else LARGE,
    )
    print(f"seed {seed}: the same faults come again with --seed {seed} --seconds {options.seconds:g}", flush=True)
    sitting = asyncio.run(sit(plan))
    print(describe(sitting))
    return 1 if sitting.violations else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make faults", description="Runs under faults, and a verdict.")
    parser.add_argument("--seconds", type=float, default=600, help="for how long faults come")
    parser.add_argument("--seed", type=int, help="which faults come when; printed, else chosen")
    parser.add_argument("--pace", type=float, default=6.0, help="seconds between faults, on average")
    parser.add_argument("--clients", type=int, default=8, help="at the same time")
    parser.add_argument("--pause", type=float, default=0.5, help="the longest of a client between two runs, in seconds")
    parser.add_argument(
        "--recovery", type=int, default=0, metavar="ROUNDS", help="kills in turn, for the time they cost"
    )
    parser.add_argument("--small", action="store_true", help="one API and two workers, no serve")
    parser.add_argument("--only", action="append", choices=list(FAULTS), help="this fault, and others named so")
    parser.add_argument("--judge", type=Path, metavar="FOLDER", help="no sitting: judge again what a violation left")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
