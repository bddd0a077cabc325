"""The server over plain HTTP: what it refuses, what it serves, who gets the slot, and how it ends."""

import base64
import contextlib
import http.client
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers.pictures import make_picture
from helpers.server import serving, stylize_arguments
from helpers.shell import ROOT
from nst import read_recipe

TIME_LIMIT = 20


def png(width: int = 96, height: int = 72, seed: int = 1) -> bytes:
    data = io.BytesIO()
    make_picture(width, height, seed).save(data, "PNG")
    return data.getvalue()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    flags = ["--max-size", 256, "--time-limit", TIME_LIMIT, "--queue-size", 2]
    with serving(tmp_path_factory.mktemp("server"), *flags) as server:
        yield server


@pytest.fixture(scope="module")
def files(server):
    """Photo and painting as the API takes them."""
    paths = [json.loads(server.upload(png(seed=seed))[1])[0] for seed in (1, 2)]
    return [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]


def outcome(server, data: list) -> tuple[str, object]:
    """The last message of a run: ("complete", outputs) or ("error", what is said)."""
    *_, (kind, content) = server.follow(server.begin(data))
    return kind, content["error"] if kind == "error" else content


def said_well(text: str | None, server) -> bool:
    """Nothing at all, or one line without a traceback or a path of this machine."""
    hidden = (str(server.folder), str(ROOT), "site-packages", "Traceback", "\n")
    return text is None or not any(one in text for one in hidden)


# --- settings ---------------------------------------------------------------------------------------------------------

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from([10**400, 1e308, 2**63, "9" * 3000, "../../etc/passwd", "\0", "nan", "-0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@settings(max_examples=40, derandomize=True, deadline=None, database=None, phases=[Phase.generate],
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(place=st.integers(2, 9), value=JUNK)
def test_any_value_of_any_setting_is_used_or_refused_in_one_line(server, files, place, value):
    data = stylize_arguments(files, size=32, steps=1)
    data[place] = value
    if place == 4 and type(value) in (int, float) and 20 < value <= 10_000:
        return  # a setting that can be used, for longer than a test may take
    kind, said = outcome(server, data)
    assert kind == "complete" or (said and said_well(said, server)), said


def test_whatever_is_sent_as_a_picture_is_refused_and_nothing_of_the_server_is_read(server, files):
    secret = server.folder / "secret.png"  # a picture that nobody uploaded
    secret.write_bytes(png(seed=9))
    mark = {"meta": {"_type": "gradio.FileData"}}
    for junk in (
        1, "x", [], {}, [files[0]], {"path": str(secret)}, {"path": str(secret)} | mark, {"path": "/etc/passwd"} | mark,
        {"path": str(ROOT / "app.py")} | mark, {"path": ""} | mark, {"path": None} | mark, {"url": str(secret)} | mark,
        {"path": f"{files[0]['path']}/../../../../secret.png"} | mark, {"path": f"file://{secret}"} | mark,
        {"path": "http://127.0.0.1:1/x.png"} | mark, {"url": "data:image/png;base64,AAAA", "path": ""} | mark,
    ):  # fmt: skip
        kind, said = outcome(server, stylize_arguments([junk, files[1]]))
        assert kind == "error" and said_well(said, server), (junk, kind, said)
    assert outcome(server, stylize_arguments([None, files[1]])) == ("error", "Add a photo and a painting first.")


def test_no_event_of_the_page_reads_a_file_that_was_not_uploaded(server, files):
    """Every event takes calls from outside, whether it is listed as API or not."""
    config = json.loads(server.get("/config")[2])
    kinds = {one["id"]: one["type"] for one in config["components"]}
    takers = [one for one in config["dependencies"] if {"image", "imageeditor", "file", "gallery", "imageslider"}
              & {kinds[key] for key in one["inputs"]}]  # fmt: skip
    assert takers
    for unmarked in ({"path": "/etc/passwd"}, {"background": {"path": "/etc/passwd"}, "layers": [], "composite": None}):
        for one in takers:
            given = [unmarked if kinds[key] in ("image", "imageeditor", "file", "gallery", "imageslider") else None
                     for key in one["inputs"]]  # fmt: skip
            body = {"fn_index": one["id"], "data": given, "session_hash": "prying"}
            status, _, answer = server.post("/gradio_api/run/predict", body)
            assert status >= 400 and b"root:" not in answer, (one["id"], status, answer[:300])
            assert b"not a picture" not in answer, answer  # it would have been read


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"data": null}', b'{"data": "x"}', b'{"data": []}',
                                  b'{"data": {"a": 1}}', b"\xff\xfe", b'{"data": ' + b"[" * 500])  # fmt: skip
def test_broken_requests_are_refused(server, body):
    status, headers, answer = server.post("/gradio_api/call/stylize", body)
    assert status in (200, 400, 422, 500) and said_well(answer.decode(), server)
    assert headers["x-content-type-options"] == "nosniff"
    if status == 200:  # taken, and refused when its turn comes
        *_, (kind, _) = server.follow(json.loads(answer)["event_id"])
        assert kind == "error"


# --- runs -------------------------------------------------------------------------------------------------------------


def test_result_carries_its_recipe(server, files, tmp_path):
    kind, (_, status, result) = outcome(server, stylize_arguments(files, steps=3))
    assert kind == "complete" and status.startswith("Done")
    (tmp_path / "result.png").write_bytes(server.get(urllib.parse.urlparse(result["url"]).path)[2])
    assert Image.open(tmp_path / "result.png").size == (64, 48)
    assert read_recipe(tmp_path / "result.png").steps_done == 3


def test_a_run_past_its_time_ends_with_the_picture_so_far(server, files):
    kind, (_, status, result) = outcome(server, stylize_arguments(files, steps=10_000, size=256))
    assert kind == "complete"
    assert re.match(rf"Stopped at step \d+ of 10000, by the limit of {TIME_LIMIT} s a run", status), status
    data = server.get(urllib.parse.urlparse(result["url"]).path)[2]
    assert Image.open(io.BytesIO(data)).size == (256, 192)


def begin_long(server, files) -> tuple[str, object]:
    event = server.begin(stylize_arguments(files, steps=10_000, size=256))
    stream = server.follow(event)
    for _, content in stream:
        if content and str(content[1]).startswith("Step"):
            return event, stream
    raise AssertionError("it did not begin")


def test_a_closed_connection_frees_the_slot_and_an_error_does_too(server, files):
    for end in ("leave", "fail"):
        started = time.monotonic()
        if end == "leave":
            begin_long(server, files)[1].close()
        else:
            bad = stylize_arguments(files, style_weight=1e9, content_weight=1e9, size=33.5)
            assert outcome(server, bad)[0] == "error"
        assert outcome(server, stylize_arguments(files, steps=1))[0] == "complete"
        assert time.monotonic() - started < TIME_LIMIT - 2  # else it was the limit that ended it


def test_visitors_beyond_the_queue_are_told_that_it_is_full(server, files):
    _, stream = begin_long(server, files)
    waiting = []
    with contextlib.closing(stream):
        while len(waiting) < 10:
            status, _, answer = server.post("/gradio_api/call/stylize", {"data": stylize_arguments(files, steps=1)})
            if status != 200:
                break
            waiting.append(json.loads(answer)["event_id"])
    assert status == 503 and b"full" in answer
    assert 2 <= len(waiting) <= 3  # as many as may wait, and perhaps one on its way out of the queue
    for event in waiting:
        *_, (kind, _) = server.follow(event)
        assert kind == "complete"


# --- the network surface ----------------------------------------------------------------------------------------------


def raw(server, path: str) -> tuple[int, bytes]:
    """A path as it is: urllib would tidy it up."""
    address = urllib.parse.urlparse(server.url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    connection.putrequest("GET", path, skip_host=False)
    connection.endheaders()
    answer = connection.getresponse()
    with contextlib.closing(connection):
        return answer.status, answer.read()


def test_no_path_leads_out_of_the_served_folders(server, files):
    upload, root = files[0]["path"], str(ROOT)
    up = "/".join([".."] * 12)
    targets = ["/etc/passwd", f"{root}/app.py", f"{root}/README.md", f"{root}/checkpoints/README.md", str(server.log)]
    forms = [
        *(f"/gradio_api/file={target}" for target in targets),
        *(f"/gradio_api/file={form}" for form in ("app.py", "./app.py", "README.md", f"{up}/etc/passwd", "~/.bashrc")),
        f"/gradio_api/file={upload}/{up}/etc/passwd",
        f"/gradio_api/file={Path(upload).parent}/{up}/etc/passwd",
        f"/gradio_api/file={'%2e%2e%2f' * 12}etc%2fpasswd", f"/gradio_api/file={'%252e%252e%252f' * 12}etc%252fpasswd",
        f"/gradio_api/file={'..%5c' * 12}etc%5cpasswd", f"/gradio_api/file={upload}%00/../../../etc/passwd",
        "/gradio_api/file=file:///etc/passwd", "/gradio_api/file=//etc/passwd", "/gradio_api/file/etc/passwd",
        f"/static/{up}/etc/passwd", f"/assets/{up}/etc/passwd", f"/svelte/{up}/etc/passwd", f"/{up}/etc/passwd",
        f"/static/{'%2e%2e/' * 12}etc/passwd", f"/assets/{'..%2f' * 12}etc/passwd", f"/theme.css/{up}/etc/passwd",
        f"/gradio_api/custom_component/1/server/component/{up}/etc/passwd", "/gradio_api/proxy=http://127.0.0.1:1/x",
        f"/gradio_api/stream/a/0/{up}/etc/passwd", "/.git/config", "/app.py", "/checkpoints/README.md",
    ]  # fmt: skip
    secrets = [b"root:", *((Path(target).read_bytes()[:60]) for target in targets if Path(target).exists())]
    for form in forms:
        status, answer = raw(server, form)
        assert not any(secret in answer for secret in secrets if secret), form
        assert status >= 400 or b"<html" in answer.lower(), (form, status, answer[:200])
    assert raw(server, f"/gradio_api/file={upload}")[0] == 200  # so that the tests above mean something


def test_every_answer_has_the_headers_and_may_be_framed(server, files):
    for path in ("/", "/config", "/theme.css", f"/gradio_api/file={files[0]['path']}", "/nothing", "/gradio_api/info"):
        _, headers, _ = server.get(path)
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "same-origin"), path
        assert "x-frame-options" not in headers and "frame-ancestors" not in str(headers)


def test_nothing_for_developers_is_there(server):
    for path in ("/monitoring", "/monitoring/summary", "/docs", "/redoc", "/openapi.json", "/gradio_api/dev/reload",
                 "/gradio_api/vibe-code", "/gradio_api/profiling/traces", "/gradio_api/runs"):  # fmt: skip
        status, _, answer = server.get(path)
        assert status == 404 or b"window.gradio_config" in answer, (path, status)  # or the page itself
    assert server.post("/gradio_api/process_recording", b"x")[0] == 404
    assert server.post("/gradio_api/vibe-edit", {"prompt": "x"})[0] == 404


def test_uploads_are_bounded_and_never_shown_as_pages(server):
    before = {*server.files()}
    status, answer = server.upload(bytes(40_200_000))
    assert status == 413 and b"40 MB" in answer
    assert server.post("/gradio_api/queue/join", b" " * 8_100_000)[0] == 413

    def pieces():  # no length is told beforehand
        for _ in range(90):
            yield b" " * 100_000

    address = urllib.parse.urlparse(server.url)
    with (
        contextlib.closing(http.client.HTTPConnection(address.hostname, address.port, timeout=60)) as connection,
        contextlib.suppress(BrokenPipeError, ConnectionResetError),  # refused before all of it was sent
    ):
        connection.request("POST", "/gradio_api/queue/join", pieces(), {"Content-Type": "application/json"})
        assert connection.getresponse().status in (400, 413)
    assert {*server.files()} <= before
    for name in ("page.html", "drawing.svg", "../../evil.html"):
        status, answer = server.upload(b"<script>alert(1)</script>", name)
        path = json.loads(answer)[0]
        assert status == 200 and str(server.folder / "temporary") in str(Path(path).resolve())
        _, headers, _ = server.get(f"/gradio_api/file={path}")
        assert headers["content-disposition"].startswith("attachment") and "html" not in headers["content-type"]


# --- programs ---------------------------------------------------------------------------------------------------------


def example(name: str) -> str:
    """A program from the documentation, as it stands there."""
    text = (ROOT / "docs" / "deployment.md").read_text()
    return re.search(rf"<!-- example: {name} -->\n```\w+\n(.*?)```", text, re.S)[1]


@pytest.mark.parametrize("name", ["client", "curl"])
def test_examples_in_the_documentation_work(server, tmp_path, name):
    program = example(name).replace("http://127.0.0.1:7860", server.url).replace("256", "64")
    (tmp_path / "photo.jpg").write_bytes(png(seed=1))
    (tmp_path / "painting.jpg").write_bytes(png(seed=2))
    if name == "curl" and not shutil.which("curl"):
        pytest.skip("no curl on this machine")
    command = [sys.executable, "-c", program] if name == "client" else ["bash", "-euo", "pipefail", "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    result = Path(done.stdout.split("\n")[-2]) if name == "client" else tmp_path / "result.png"
    assert Image.open(result).size == (64, 48)


def test_language_models_find_a_tool_and_can_use_it(server):
    import anyio
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async def talk():
        async with (
            streamablehttp_client(f"{server.url}/gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            (tool,) = (await session.list_tools()).tools
            # As an address Gradio would fetch the pictures itself, but from no machine of its own network.
            photo, painting = (f"data:image/png;base64,{base64.b64encode(png(seed=n)).decode()}" for n in (1, 2))
            given = {"content": photo, "style": painting, "preset": "quick", "size": 64, "steps": 2}
            told = []

            async def hear(progress, total, message):
                told.append(message)

            answers = await session.call_tool(tool.name, given), await session.call_tool(
                tool.name, given | {"steps": 3}, progress_callback=hear
            )
            return tool, answers, told, await session.call_tool(tool.name, given | {"size": 9000})

    with ThreadPoolExecutor() as thread:  # playwright, in other tests, has an event loop in this one
        tool, answers, told, refused = thread.submit(anyio.run, talk).result()
    assert tool.name == "stylize" and tool.description.startswith("Paint a photo in the style of a picture")
    parameters = tool.inputSchema["properties"]
    assert {"content", "style", "preset", "steps"} <= set(parameters)
    assert all(parameters[name].get("description") for name in ("content", "style", "size", "style_weight"))
    assert told  # a model that asks is told how it goes
    for answer in answers:
        assert not answer.isError and [one.type for one in answer.content] == ["text", "image"]
        said, picture = answer.content
        assert said.text.startswith("Done · ") and "/" not in said.text  # no addresses, no paths
        image = Image.open(io.BytesIO(base64.b64decode(picture.data)))
        assert (image.size, image.format, picture.mimeType) == ((64, 48), "PNG", "image/png")
        assert "nst-recipe" in image.info
    assert refused.isError and "size must be" in refused.content[0].text and "/" not in refused.content[0].text


# --- the end, and a disk that is full ---------------------------------------------------------------------------------

WATCH = """
import socket
def watched(function, place):
    def call(*arguments, **options):
        with open({log!r}, "a") as file:
            print(function.__name__, arguments[place], file=file)
        return function(*arguments, **options)
    return call
socket.getaddrinfo = watched(socket.getaddrinfo, 0)
socket.socket.connect = watched(socket.socket.connect, 1)
socket.socket.connect_ex = watched(socket.socket.connect_ex, 1)
"""
FULL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))\n"  # longer files fail, as if full


def test_full_disk_is_said_and_sigterm_ends_cleanly_and_nobody_was_called(tmp_path):
    (tmp_path / "site").mkdir()
    calls = tmp_path / "calls"
    (tmp_path / "site" / "sitecustomize.py").write_text(textwrap.dedent(WATCH.format(log=str(calls))) + FULL)
    with serving(tmp_path, "--max-size", 256, PYTHONPATH=str(tmp_path / "site")) as server:
        uploads = [server.upload(png(64, 48, seed)) for seed in (1, 2)]
        files = [{"path": json.loads(answer)[0], "meta": {"_type": "gradio.FileData"}} for _, answer in uploads]
        status, answer = server.upload(bytes(60_000))
        assert (status, answer) == (507, b"The server cannot keep files now. Try again later.")
        kind, said = outcome(server, stylize_arguments(files, size=256, steps=1))  # its PNG is longer
        assert kind == "error" and said_well(said, server)
        assert outcome(server, stylize_arguments(files, steps=1))[0] == "complete"  # the next visitor is served

        event = server.begin(stylize_arguments(files, steps=10_000))
        last = []
        begun = threading.Event()

        def watch():
            for kind, content in server.follow(event):
                last[:] = [kind, content]
                if content and str(content[1]).startswith("Step"):
                    begun.set()

        watcher = threading.Thread(target=watch)
        watcher.start()
        assert begun.wait(60)
        children = psutil.Process(server.process.pid).children(recursive=True)
        seconds = server.end(signal.SIGTERM)
        watcher.join(30)
    assert server.process.returncode == 0 and seconds < 15
    assert last[0] == "complete" and last[1][1].startswith("Stopped at step"), last
    assert [path.name for path in (tmp_path / "temporary").rglob("*")] == []
    assert not [child for child in children if child.is_running()]
    called = [line for line in calls.read_text().splitlines() if not re.search(r"127\.0\.0\.1|localhost|'/|::1", line)]
    assert called == []
