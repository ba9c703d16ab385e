"""The HTTP trigger, statement by statement of docs/host.md (1.3), over real HTTP."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import azure.functions as func
import httpx
import pytest

from local.host.configuration import ConfigurationError
from local.host.keys import AuthLevel, Keys
from local.host.routes import parse_route
from tests.host.apps import HOST_JSON, running

ANONYMOUS = func.AuthLevel.ANONYMOUS


def echo_app(route: str, **options: Any) -> func.FunctionApp:
    """An app with one HTTP function that tells the request's route parameters."""
    app = func.FunctionApp()

    @app.route(route, auth_level=ANONYMOUS, **options)
    async def echo(req: func.HttpRequest) -> func.HttpResponse:
        return func.HttpResponse(json.dumps(dict(req.route_params)), mimetype="application/json")

    return app


@pytest.mark.parametrize(
    ("template", "path", "expected"),
    [
        ("grants", "/grants", {}),
        ("grants", "/Grants/", {}),
        ("grants", "/grants/7", None),
        ("grants/{id}", "/grants/a%20b%2Fc", {"id": "a b/c"}),
        ("grants/{id}", "/grants", None),
        ("grants/{id?}", "/grants", {}),
        ("grants/{id?}", "/grants/7", {"id": "7"}),
        ("grants/{id:int}", "/grants/-7", {"id": "-7"}),
        ("grants/{id:int}", "/grants/seven", None),
        ("grants/{id:guid}", "/grants/29232cdf-9323-42fd-ade2-1d097af3e4de", {"id": "29232cdf-9323-42fd-ade2-1d097af3e4de"}),
        ("{*rest}", "/a/b/c", {"rest": "a/b/c"}),
        ("files/{*rest}", "/files", {}),
        ("", "/", {}),
    ],
)
def test_1_3_1_route_templates(template: str, path: str, expected: dict[str, str] | None) -> None:
    """Literal text without case, ``{id}``, ``{id?}``, ``{id:int}`` and ``{*rest}``."""
    assert parse_route("", template).match(path) == expected


@pytest.mark.parametrize("template", ["admin", "Admin/things", "a/{id:float}", "a/{id", "a/x{id}y"])
def test_1_3_1_unknown_and_reserved_routes_are_refused(template: str) -> None:
    """``admin/...`` is the host's own; a form of template that this host doesn't know is a fault, not a guess."""
    with pytest.raises(ValueError, match="route"):
        parse_route("", template)


@pytest.mark.parametrize(
    ("host_json", "path"),
    [
        ({"version": "2.0"}, "/api/things"),
        ({"version": "2.0", "extensions": {"http": {"routePrefix": "v1/x"}}}, "/v1/x/things"),
        (HOST_JSON, "/things"),
    ],
)
async def test_1_3_1_route_prefix(tmp_path: Path, host_json: dict[str, Any], path: str) -> None:
    """The prefix is "api" unless host.json says another or none."""
    async with running(echo_app("things"), tmp_path, host_json=host_json) as at:
        assert (await at.client.get(path)).status_code == 200
        assert (await at.client.get("/elsewhere" + path)).status_code == 404


async def test_1_3_1_the_route_defaults_to_the_functions_name(tmp_path: Path) -> None:
    """A function without a route is served under its name."""
    app = func.FunctionApp()

    @app.route(auth_level=ANONYMOUS)
    async def health(req: func.HttpRequest) -> str:
        return "well"

    async with running(app, tmp_path) as at:
        assert (await at.client.get("/health")).text == "well"


async def test_1_3_1_methods_and_the_more_specific_route_win(tmp_path: Path) -> None:
    """A method that no route has is 404, as in Azure; a literal segment wins over a parameter, whatever the order."""
    app = func.FunctionApp()

    def say(text: str, route: str, methods: list[str]) -> None:
        async def function(req: func.HttpRequest) -> str:
            return text

        app.function_name(text)(app.route(route, methods=methods, auth_level=ANONYMOUS)(function))

    say("rest", "{*rest}", ["GET"])
    say("one", "grants/{id}", ["GET"])
    say("new", "grants/new", ["GET"])
    say("make", "grants", ["POST"])
    async with running(app, tmp_path) as at:
        for method, path, expected in [
            ("GET", "/grants/new", "new"),
            ("GET", "/grants/7", "one"),
            ("GET", "/grants", "rest"),
            ("POST", "/grants", "make"),
        ]:
            assert (await at.client.request(method, path)).text == expected
        assert (await at.client.put("/grants")).status_code == 404


def keyed_app() -> func.FunctionApp:
    """An app with a function of each level; the first says none, so that the app's default counts."""
    app = func.FunctionApp()

    @app.route("default")
    async def default(req: func.HttpRequest) -> str:
        return "in"

    @app.route("other", auth_level=func.AuthLevel.FUNCTION)
    async def other(req: func.HttpRequest) -> str:
        return "in"

    @app.route("management", auth_level=func.AuthLevel.ADMIN)
    async def management(req: func.HttpRequest) -> str:
        return "in"

    return app


async def test_1_3_2_the_key_is_in_the_header_or_the_query_and_the_header_wins(tmp_path: Path) -> None:
    """``x-functions-key`` counts before ``code``."""
    async with running(keyed_app(), tmp_path) as at:
        key = at.host.keys.host
        assert (await at.client.get("/default", headers={"X-Functions-Key": key})).text == "in"
        assert (await at.client.get("/default", params={"code": key})).text == "in"
        wrong_header = await at.client.get("/default", params={"code": key}, headers={"x-functions-key": "wrong"})
        assert wrong_header.status_code == 401


async def test_1_3_3_levels_of_keys(tmp_path: Path) -> None:
    """Master opens all; the host's key and the function's own open functions; another function's opens nothing: 401, empty."""
    async with running(keyed_app(), tmp_path) as at:
        keys = at.host.keys

        async def status(path: str, key: str) -> int:
            answer = await at.client.get(path, headers={"x-functions-key": key})
            assert answer.status_code == 200 or answer.content == b""
            return answer.status_code

        own, others = keys.functions["default"], keys.functions["other"]
        assert [await status("/default", key) for key in (keys.master, keys.host, own, others, "")] == [200, 200, 200, 401, 401]
        assert [await status("/management", key) for key in (keys.master, keys.host, own)] == [200, 401, 401]


async def test_1_3_3_a_disabled_function_is_not_found_except_for_the_master_key(tmp_path: Path) -> None:
    """A disabled function answers 404, and runs for the master key."""
    settings = {"AzureWebJobs.default.Disabled": "1"}
    async with running(keyed_app(), tmp_path, settings=settings) as at:
        assert (await at.client.get("/default", headers={"x-functions-key": at.host.keys.host})).status_code == 404
        assert (await at.client.get("/default", headers=at.as_admin)).text == "in"


def test_1_3_4_keys_are_random_kept_and_private(tmp_path: Path) -> None:
    """Each data directory has keys of its own, kept in a file that only its owner reads; a new function gets one too."""
    first = Keys.load(tmp_path / "a" / "keys.json", ["one"])
    again = Keys.load(tmp_path / "a" / "keys.json", ["one", "two"])
    other = Keys.load(tmp_path / "b" / "keys.json", ["one"])
    assert (again.master, again.host, again.functions["one"]) == (first.master, first.host, first.functions["one"])
    assert len({*again.functions.values(), again.master, again.host, other.master}) == 5
    assert (tmp_path / "a" / "keys.json").stat().st_mode & 0o077 == 0
    assert again.level("", "one") is AuthLevel.ANONYMOUS


async def test_1_3_5_the_default_level_is_function(tmp_path: Path) -> None:
    """A function whose decorator names no level asks for a key."""
    async with running(keyed_app(), tmp_path) as at:
        assert (await at.client.get("/default")).status_code == 401


async def test_1_3_6_exceptions_and_none_answer_500_without_a_body(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of an error leaves the host; the trace is logged for debugging alone."""
    app = func.FunctionApp(http_auth_level=ANONYMOUS)

    @app.route("raises")
    def raises(req: func.HttpRequest) -> str:
        raise ValueError("oops")

    @app.route("nothing")
    async def nothing(req: func.HttpRequest) -> None:
        return None

    caplog.set_level(logging.DEBUG, "local.host")
    async with running(app, tmp_path) as at:
        for path in ("/raises", "/nothing"):
            answer = await at.client.get(path)
            assert (answer.status_code, answer.content) == (500, b"")
    lines = {record.levelname: record.getMessage() for record in caplog.records if "raises" in record.getMessage()}
    assert "ValueError: oops" in lines["ERROR"]
    assert "\n" not in lines["ERROR"]
    assert "Traceback" in lines["DEBUG"] or any("Traceback" in record.getMessage() for record in caplog.records)


async def test_1_3_6_results_become_responses(tmp_path: Path) -> None:
    """Text is 200; an HttpResponse keeps its status, headers, cookies and body."""
    app = func.FunctionApp(http_auth_level=ANONYMOUS)

    @app.route("text")
    async def text(req: func.HttpRequest) -> str:
        return "schön"

    @app.route("full")
    async def full(req: func.HttpRequest) -> func.HttpResponse:
        response = func.HttpResponse(
            b"\x00\x01", status_code=303, mimetype="application/octet-stream", headers={"Location": "/x"}
        )
        response.headers.add("Set-Cookie", "one=1; Path=/; HttpOnly; Secure; SameSite=Lax")
        response.headers.add("Set-Cookie", "two=2; Max-Age=60")
        return response

    async with running(app, tmp_path) as at:
        assert (await at.client.get("/text")).text == "schön"
        answer = await at.client.get("/full")
    assert (answer.status_code, answer.content, answer.headers["location"]) == (303, b"\x00\x01", "/x")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers.get_list("set-cookie") == ["one=1; HttpOnly; Path=/; SameSite=Lax; Secure", "two=2; Max-Age=60"]


def recording_app() -> tuple[func.FunctionApp, list[func.HttpRequest]]:
    """An app that keeps the requests it is given."""
    app, seen = func.FunctionApp(http_auth_level=ANONYMOUS), []

    @app.route("things/{id}")
    async def things(req: func.HttpRequest) -> str:
        seen.append(req)
        return "seen"

    return app, seen


async def test_1_3_7_what_the_function_is_given_of_a_request(tmp_path: Path) -> None:
    """Lower-cased header names, repeated ones joined, empty query values dropped, the body as bytes, the full URL."""
    app, seen = recording_app()
    async with running(app, tmp_path) as at:
        headers = [("X-Many", "a"), ("x-many", "b"), ("X-One", "C")]
        await at.client.post("/things/7?a=1&empty=&a=2", headers=headers, content='{"schön": 1}'.encode())
        url = f"{at.host.url}/things/7?a=1&empty=&a=2"

    (request,) = seen
    assert (request.method, request.url, dict(request.route_params)) == ("POST", url, {"id": "7"})
    assert (dict(request.headers)["x-many"], dict(request.headers)["x-one"]) == ("a,b", "C")
    assert dict(request.params) == {"a": "1,2"}
    assert (request.get_body(), request.get_json()) == ('{"schön": 1}'.encode(), {"schön": 1})


async def test_1_3_7_an_empty_body_is_no_bytes(tmp_path: Path) -> None:
    """Without content the body is ``b""``; a form is read by the library from the bytes."""
    app, seen = recording_app()
    async with running(app, tmp_path) as at:
        await at.client.get("/things/1")
        await at.client.post("/things/1", data={"name": "Contoso Ltd"})
    assert seen[0].get_body() == b""
    assert seen[1].form["name"] == "Contoso Ltd"


async def test_1_3_9_a_body_over_100_mb_is_refused(tmp_path: Path) -> None:
    """413, before the function is invoked."""
    app, seen = recording_app()
    async with running(app, tmp_path) as at:
        answer = await at.client.post("/things/1", content=b"x" * (100 * 1024 * 1024 + 1))
    assert (answer.status_code, seen) == (413, [])


async def test_1_3_10_admin_endpoints_ask_for_the_master_key(tmp_path: Path) -> None:
    """401 for everyone else, the host's key too; the host's status with it."""
    async with running(keyed_app(), tmp_path) as at:
        for method, path in [
            ("POST", "/admin/functions/default"),
            ("GET", "/admin/host/status"),
            ("POST", "/admin/host/drain"),
            ("GET", "/admin/host/drain/status"),
            ("POST", "/admin/host/resume"),
        ]:
            answer = await at.client.request(method, path, headers={"x-functions-key": at.host.keys.host})
            assert (answer.status_code, answer.content) == (401, b"")
        status = await at.client.get("/admin/host/status", headers=at.as_admin)
        assert (status.status_code, status.json()["state"]) == (200, "Running")


@pytest.mark.parametrize(("name", "body", "expected"), [("none", b"{}", 404), ("default", b"{}", 404), ("default", b"{", 400)])
async def test_1_3_10_admin_runs_only_functions_without_http_trigger(
    tmp_path: Path, name: str, body: bytes, expected: int
) -> None:
    """An unknown or an HTTP function is 404, a body that isn't JSON 400."""
    async with running(keyed_app(), tmp_path) as at:
        answer = await at.client.post(f"/admin/functions/{name}", content=body, headers=at.as_admin)
        assert answer.status_code == expected


async def test_requests_run_side_by_side(tmp_path: Path) -> None:
    """One slow request doesn't hold up another."""
    app, gate = func.FunctionApp(http_auth_level=ANONYMOUS), asyncio.Event()

    @app.route("slow")
    async def slow(req: func.HttpRequest) -> str:
        await gate.wait()
        return "slow"

    @app.route("fast")
    async def fast(req: func.HttpRequest) -> str:
        return "fast"

    async with running(app, tmp_path) as at:
        waiting = asyncio.create_task(at.client.get("/slow"))
        assert (await at.client.get("/fast")).text == "fast"
        gate.set()
        assert (await waiting).text == "slow"


async def test_every_fault_of_an_app_is_told_at_once(tmp_path: Path) -> None:
    """Routes, schedules, connections: one sentence for each function that can't be run, before anything listens."""
    app = func.FunctionApp()

    @app.route("admin/x")
    async def reserved(req: func.HttpRequest) -> str:
        return ""

    @app.timer_trigger(arg_name="timer", schedule="often")
    async def often(timer: func.TimerRequest) -> None: ...

    with pytest.raises(ConfigurationError) as caught:
        async with running(app, tmp_path):
            pass
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["function reserved", "function often"]


async def test_the_port_is_free_again_after_the_end(tmp_path: Path) -> None:
    """Nothing answers once the host has ended."""
    async with running(echo_app("things"), tmp_path) as at:
        url = at.host.url
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(url)
