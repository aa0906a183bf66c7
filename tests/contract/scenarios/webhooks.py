"""Owns the calls that ask for a webhook, and the webhooks that come."""

from threadline.tests.contract.catalogue import Caller, scenario


@scenario
async def a_webhook_tells_how_a_run_ended(c: Caller) -> None:
    thread_id = await c.thread()
    for graph in ("steps", "asking", "failing"):
        await c.refused(c.sdk.runs.wait(thread_id, graph, input={"n": 1}, webhook=f"{c.hooks.url}/{graph}"))
        await c.hooked(1)


@scenario
async def a_webhook_tells_of_a_run_without_a_thread(c: Caller) -> None:
    await c.post("/runs/wait", {"assistant_id": "steps", "input": {"n": 1}, "webhook": f"{c.hooks.url}/done?a=1"})
    await c.hooked(1)


@scenario
async def a_webhook_tells_that_a_run_was_cancelled(c: Caller) -> None:
    thread_id, gate = await c.thread(), c.gate()
    body = {"input": {"gate": gate}, "webhook": f"{c.hooks.url}/cancelled", "stream_mode": "custom"}
    run_id = await c.start(thread_id, "gated", **body)
    await c.until(f"/threads/{thread_id}/state", lambda state: state["next"] == ["wait"])
    await c.post(f"/threads/{thread_id}/runs/{run_id}/cancel?wait=true")
    await c.hooked(1)


@scenario
async def webhooks_lead_nowhere_else(c: Caller) -> None:
    thread_id = await c.thread()
    for url in ("ftp://example.com/x", "nonsense", "/relative", "http://", "https://" + "x" * 70_000):
        await c.post(f"/threads/{thread_id}/runs", {"assistant_id": "steps", "webhook": url, "after_seconds": 600})
