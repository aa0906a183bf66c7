"""Owns the recorded answers of the reference, one file per area. Run as a program, it records them anew."""

import asyncio
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from threadline.tests.contract.catalogue import AREAS, Played, Scenario, by_project, load_catalogue, play_all
from threadline.tests.contract.comparing import STOPPED
from threadline.tests.contract.servers import serve_reference

RECORDED = Path(__file__).with_name("recorded")


def play_reference(scenarios: list[Scenario]) -> Played:
    """Play scenarios against the reference itself."""
    played: Played = {}
    for project, those in by_project(scenarios).items():
        with TemporaryDirectory(prefix="tl-reference-") as folder, serve_reference(Path(folder), project) as served:
            played |= asyncio.run(play_all(those, served.url, served.gates))
    return played


def read_recording() -> Played:
    """Return what the reference answered when it was recorded."""
    return {
        name: calls
        for path in sorted(RECORDED.glob("*.json"))
        for name, calls in json.loads(path.read_text("utf-8")).items()
    }


def write_recording(scenarios: list[Scenario], played: Played) -> None:
    """Keep what the reference answered, in place of what it did before; areas that there are no more go."""
    RECORDED.mkdir(exist_ok=True)
    for path in RECORDED.glob("*.json"):
        if path.stem not in AREAS:
            path.unlink()
    for area in {each.area for each in scenarios}:
        of_area = {each.name: played[each.name] for each in scenarios if each.area == area}
        text = json.dumps(of_area, indent=1, ensure_ascii=False, sort_keys=True)
        (RECORDED / f"{area}.json").write_text(text + "\n", "utf-8")


def main() -> int:
    """Record the reference, all of it or the areas that are named; 1 when a scenario does not get to its end there."""
    wanted = sys.argv[1:] or AREAS
    scenarios = [each for each in load_catalogue() if each.area in wanted]
    played = play_reference(scenarios)
    stopped = {name: calls[-1]["body"] for name, calls in played.items() if calls and calls[-1]["call"] == STOPPED}
    for name, why in stopped.items():
        print(f"{name}: {why}", file=sys.stderr)
    write_recording(scenarios, played)
    print(f"{sum(map(len, played.values()))} calls in {len(played)} scenarios are recorded in {RECORDED}")
    return 1 if stopped else 0


if __name__ == "__main__":
    sys.exit(main())
