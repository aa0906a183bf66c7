"""Owns the proof of langgraph.json's `http`: an application of the project's own, and what is switched off or added."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from threadline.api.surroundings import request_facts
from threadline.tests.api.guarded_world import AUTH, client_of, serve_project, write_project

APP = """
import contextlib
import logging

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute


@contextlib.asynccontextmanager
async def lifespan(app):
    app.state.opened = True
    yield
    app.state.opened = False


async def custom(request):
    logging.getLogger("theirs").warning("a custom route was asked")
    user = request.scope.get("user")
    return JSONResponse({"opened": request.app.state.opened, "user": user and user.identity})


async def ours(request):
    return JSONResponse({"ok": "theirs"})


async def fail(request):
    raise HTTPException(418, "a teapot")


async def greet(websocket):
    await websocket.accept()
    await websocket.send_text("hello")
    await websocket.close()


async def pour(request, error):
    return JSONResponse({"poured": error.detail}, status_code=418)


class Marking(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        if "x-stop" in request.headers:
            return JSONResponse({"stopped": True}, status_code=451)
        response = await call_next(request)
        response.headers["x-marked"] = "yes"
        return response


app = Starlette(
    routes=[Route("/custom", custom), Route("/ok", ours), Route("/fail", fail), WebSocketRoute("/greet", greet)],
    lifespan=lifespan,
    exception_handlers={418: pour},
    middleware=[Middleware(Marking)],
)
"""
TELL = {"assistant_id": "telling", "input": {}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own_routes.py").write_text(APP)
    return tmp_path


@pytest.fixture
def serve_with(server_dsn: str, template_database: str, folder: Path) -> Any:
    """Serve the project with this `http` section, and without `auth` unless it is asked for."""

    @contextmanager
    def serve(rules: str | None = None, auth: Any = None, **http: Any) -> Iterator[str]:
        config = write_project(folder, rules=rules, http=http, **({"auth": auth} if auth else {}))
        with serve_project(server_dsn, template_database, config) as url:
            yield url

    return serve


def test_an_application_of_the_projects_own_is_served_beside_ours(serve_with: Any) -> None:
    with serve_with(app="./own_routes.py:app") as url, client_of(url) as client:
        assert client.get("/custom").json() == {"opened": True, "user": None}
        assert client.get("/ok").json() == {"ok": True, "services": {}}
        assert client.get("/fail").json() == {"poured": "a teapot"}
        assert client.get("/nowhere").status_code == 404
        assert client.delete("/ok").status_code == 405
        # Its middleware surrounds our routes, too, streams included.
        assert client.get("/ok").headers["x-marked"] == "yes"
        streamed = client.post("/runs/stream", json=TELL)
        assert streamed.headers["x-marked"] == "yes"
        assert "event: values" in streamed.text
        assert client.post("/runs/wait", json=TELL).json()["told"]["identity"] is None


def test_custom_routes_are_open_unless_the_file_guards_them(serve_with: Any) -> None:
    app = "./own_routes.py:app"
    with serve_with(AUTH, app=app) as url, client_of(url) as stranger:
        assert stranger.get("/custom").json()["user"] is None
        assert stranger.post("/threads/search", json={}).status_code == 401
    with (
        serve_with(AUTH, app=app, enable_custom_route_auth=True) as url,
        client_of(url) as stranger,
        client_of(url, "alice") as alice,
    ):
        assert stranger.get("/custom").status_code == 401
        assert stranger.get("/ok").status_code == 200
        assert alice.get("/custom").json()["user"] == "alice"


def test_a_socket_of_a_stranger_is_refused_before_it_opens(serve_with: Any) -> None:
    with serve_with(AUTH, app="./own_routes.py:app", enable_custom_route_auth=True) as url:
        address = f"{url.replace('http', 'ws')}/greet"
        with pytest.raises(InvalidStatus) as refusal, connect(address):
            pass
        assert refusal.value.response.status_code == 401
        assert json.loads(refusal.value.response.body or b"") == {"detail": "no such token"}
        with connect(address, additional_headers={"authorization": "Bearer alice"}) as socket:
            assert socket.recv() == "hello"


@pytest.mark.parametrize(("order", "status"), [("middleware_first", 451), ("auth_first", 401)])
def test_the_file_says_whether_middleware_or_auth_comes_first(serve_with: Any, order: str, status: int) -> None:
    with serve_with(AUTH, app="./own_routes.py:app", middleware_order=order) as url, client_of(url) as stranger:
        assert stranger.post("/threads/search", json={}, headers={"x-stop": "1"}).status_code == status


def test_parts_that_are_switched_off_are_not_there(serve_with: Any) -> None:
    with serve_with(disable_assistants=True, disable_runs=True, disable_meta=True) as url, client_of(url) as client:
        for method, path in (
            ("POST", "/assistants/search"),
            ("POST", "/runs/wait"),
            ("POST", "/threads/01a20842-0000-7000-8000-000000000000/runs"),
            ("GET", "/info"),
            ("GET", "/docs"),
            ("GET", "/openapi.json"),
        ):
            assert client.request(method, path, json={}).status_code == 404, path
        assert client.get("/ok", params={"check_db": True}).json() == {"ok": True}
        assert client.post("/threads", json={}).status_code == 200


def test_a_prefix_stands_before_every_path(serve_with: Any) -> None:
    with serve_with(AUTH, app="./own_routes.py:app", mount_prefix="/my/api") as url:
        with client_of(f"{url}/my/api", "alice") as alice, client_of(url, "alice") as beside:
            thread = alice.post("/threads", json={}).raise_for_status().json()["thread_id"]
            assert alice.get(f"/threads/{thread}").status_code == 200
            assert alice.post("/runs/wait", json=TELL).json()["told"]["identity"] == "alice"
            assert alice.get("/custom").json()["opened"] is True
            assert beside.get(f"/threads/{thread}").status_code == 404
            assert beside.get("/ok").json()["ok"] is True
        with client_of(f"{url}/my/api", "bob") as bob, client_of(f"{url}/my/api") as stranger:
            assert bob.get(f"/threads/{thread}").status_code == 404
            assert stranger.get(f"/threads/{thread}").status_code == 401


def test_cross_origin_rules_of_the_file_do_not_forget_a_method(serve_with: Any) -> None:
    cors = {"allow_origins": ["https://a.example"], "allow_credentials": True, "expose_headers": ["x-mine"]}
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,x-y"}
    with serve_with(AUTH, cors=cors) as url, client_of(url) as client:
        allowed = client.options("/threads/search", headers={"origin": "https://a.example", **asked})
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://a.example"
        assert "POST" in allowed.headers["access-control-allow-methods"]
        assert client.options("/threads", headers={"origin": "https://b.example", **asked}).status_code == 400
        exposed = client.get("/ok", headers={"origin": "https://a.example"}).headers["access-control-expose-headers"]
        assert {"x-mine", "content-location"} <= set(exposed.split(", "))


def test_chosen_headers_stand_in_what_a_request_logs(serve_with: Any) -> None:
    seen: list[Any] = []

    def watch(record: logging.LogRecord) -> bool:
        seen.append(dict(request_facts()))
        return True

    logger = logging.getLogger("theirs")
    logger.addFilter(watch)
    try:
        choice = {"includes": ["x-*", "user-agent"], "excludes": ["*secret*"]}
        with serve_with(app="./own_routes.py:app", logging_headers=choice) as url, client_of(url) as client:
            client.get("/custom", headers={"x-tenant": "7", "x-secret": "8", "user-agent": "me"})
    finally:
        logger.removeFilter(watch)
    assert seen == [{"header_x_tenant": "7", "header_user_agent": "me"}]


def test_how_to_sign_in_is_told_in_the_document(serve_with: Any) -> None:
    openapi = {
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        "security": [{"token": []}],
        "paths": {"/ok": {"get": []}},
    }
    with serve_with(AUTH, auth={"openapi": openapi}) as url, client_of(url, "alice") as alice:
        document = alice.get("/openapi.json").json()
    assert document["components"]["securitySchemes"] == openapi["securitySchemes"]
    assert document["security"] == [{"token": []}]
    assert document["paths"]["/ok"]["get"]["security"] == []


def test_answers_of_the_handler_are_kept_as_long_as_the_file_says(serve_with: Any, folder: Path) -> None:
    counting = AUTH.replace("    return USERS", "    CALLS.append(1)\n    return {'calls': len(CALLS)} | USERS")
    cache = {"cache_keys": ["authorization"], "ttl_seconds": 60, "max_size": 1}
    seen = []
    with (
        serve_with(f"CALLS = []\n{counting}", auth={"cache": cache}) as url,
        client_of(url, "alice") as alice,
        client_of(url, "bob") as bob,
        client_of(url, "eve") as eve,
    ):
        for client in (alice, alice, bob, bob, alice):
            run = client.post("/runs", json=TELL).raise_for_status().json()
            seen.append(run["kwargs"]["config"]["configurable"]["langgraph_auth_user"]["calls"])
        assert eve.post("/runs", json=TELL).status_code == 401
    assert seen == [1, 1, 2, 2, 3]
