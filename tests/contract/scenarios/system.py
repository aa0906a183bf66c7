"""Owns the calls that concern no resource: what the server says of itself, and what is nowhere."""

from threadline.tests.contract.catalogue import Caller, scenario


@scenario
async def the_server_says_that_it_is_well(c: Caller) -> None:
    await c.get("/ok")
    await c.get("/ok?check_db=1")
    await c.get("/")


@scenario
async def the_server_tells_what_it_is(c: Caller) -> None:
    await c.get("/info")


@scenario
async def an_unknown_route_is_not_found(c: Caller) -> None:
    await c.get("/nowhere")
    await c.post("/threads/nowhere/nothing", {})
    await c.get("/threadsx")
    await c.get("/threads/")


@scenario
async def a_wrong_method_is_not_allowed(c: Caller) -> None:
    await c.put("/threads", {})
    await c.get("/runs/wait")
    await c.delete("/threads")
    await c.patch("/runs", {})
    await c.get("/assistants/search")


@scenario
async def a_browser_asks_whether_it_may(c: Caller) -> None:
    asks = {
        "origin": "http://localhost:3000",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-api-key",
    }
    await c.call("OPTIONS", "/threads", headers=asks)
    await c.call("OPTIONS", "/threads/search", headers=asks | {"access-control-request-private-network": "true"})
    await c.get("/ok", headers={"origin": "http://localhost:3000"})
    await c.post("/threads/search", {"metadata": {"nobody": "has"}}, headers={"origin": "http://localhost:3000"})
    await c.call("HEAD", "/ok")


@scenario
async def the_server_documents_itself(c: Caller) -> None:
    for path in ("/openapi.json", "/docs", "/metrics", "/metrics?format=json"):
        answer = await c.quiet.get(path)
        assert answer.status_code == 200, path
