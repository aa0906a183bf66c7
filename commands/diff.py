"""Owns `threadline diff`: what is different between two checkpoints, as lines or as a JSON patch."""

from threadline.commands.looking_back import describe_patch, open_past, print_json
from threadline.commands.stopping import run_until_stopped
from threadline.replay.comparison import Place, compare
from threadline.replay.steps import Step
from threadline.settings import Settings


def show_diff(settings: Settings, a: str, b: str, *, as_json: bool) -> None:
    """Print what would have to change in `a` to make it `b`. Raises CommandFailed."""
    run_until_stopped(_show(settings, a, b, as_json))


async def _show(settings: Settings, a: str, b: str, as_json: bool) -> None:
    async with open_past(settings) as pool:
        comparison = await compare(pool, Place.parse(a), Place.parse(b))
    if as_json:
        print_json(comparison.view())
        return
    print(f"from {_describe(comparison.a)}")
    print(f"to   {_describe(comparison.b)}")
    print(describe_patch(comparison.patch) or "the values are the same")
    for step in (comparison.a, comparison.b):
        if step.partial:
            print(f"not compared at {step.checkpoint_id}: {', '.join(step.partial)}")


def _describe(step: Step) -> str:
    return f"{step.thread_id}@{step.checkpoint_id}, step {step.metadata.get('step')} of {step.created_at}"
