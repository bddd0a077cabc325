"""The server over plain HTTP: what it refuses, what it serves, and who gets the slot."""

import base64
import contextlib
import http.client
import io
import json
import re
import shutil
import subprocess
import sys
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers.clips import pan, write_clip
from helpers.pictures import make_picture
from helpers.server import png, run_server, stylize_arguments
from helpers.shell import ROOT
from nst import read_recipe, stylize
from nst.video.clips import Clip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server without a time limit that a test could meet, and with a queue for two."""
    with run_server(tmp_path_factory.mktemp("server"), "--max-size", 256, "--queue-size", 2) as server:
        yield server


@pytest.fixture(scope="module")
def pictures(server):
    """Photo and painting as the API takes them."""
    return server.upload_pair(96, 72)


# --- settings ---------------------------------------------------------------------------------------------------------

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from([10**400, 1e308, 2**63, "9" * 3000, "../../etc/passwd", "\0", "nan", "-0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=40, derandomize=True, deadline=None, database=None, phases=[Phase.generate],
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(position=st.integers(2, 13), value=JUNK)
def test_any_value_of_any_setting_is_used_or_refused_in_one_line(server, pictures, position, value):
    arguments = stylize_arguments(pictures, size=32, steps=1)
    arguments[position] = value
    if position == 4 and type(value) in (int, float) and 20 < value <= 10_000:
        return  # a number of steps that can be used, but takes longer than a test may
    kind, content = server.stylize(arguments)
    assert kind == "complete" or (content and server.is_clear(content)), content


def test_anything_but_an_uploaded_picture_is_refused_and_no_other_file_is_read(server, pictures):
    secret = server.folder / "secret.png"  # a picture that nobody uploaded
    secret.write_bytes(png(make_picture(96, 72, seed=9)))
    mark = {"meta": {"_type": "gradio.FileData"}}
    for junk in (
        1, "x", [], {}, [pictures[0]], {"path": str(secret)}, {"path": str(secret)} | mark,
        {"path": "/etc/passwd"} | mark, {"path": str(ROOT / "app.py")} | mark, {"path": ""} | mark,
        {"path": None} | mark, {"url": str(secret)} | mark, {"path": f"file://{secret}"} | mark,
        {"path": f"{pictures[0]['path']}/../../../../secret.png"} | mark, {"path": "http://127.0.0.1:1/x.png"} | mark,
        {"url": "data:image/png;base64,AAAA", "path": ""} | mark,
    ):  # fmt: skip
        kind, content = server.stylize(stylize_arguments([junk, pictures[1]]))
        assert kind == "error" and server.is_clear(content), (junk, kind, content)
    assert server.stylize(stylize_arguments([None, pictures[1]])) == ("error", "Add a photo and a painting first.")


def test_no_event_of_the_page_reads_a_file_that_was_not_uploaded(server):
    """Every event can be called from outside, whether it is listed as API or not."""
    file_types = {"image", "imageeditor", "file", "gallery", "imageslider"}
    config = json.loads(server.get("/config")[2])
    types = {component["id"]: component["type"] for component in config["components"]}
    events = [event for event in config["dependencies"] if file_types & {types[key] for key in event["inputs"]}]
    assert events
    for unmarked in ({"path": "/etc/passwd"}, {"background": {"path": "/etc/passwd"}, "layers": [], "composite": None}):
        for event in events:
            data = [unmarked if types[key] in file_types else None for key in event["inputs"]]
            body = {"fn_index": event["id"], "data": data, "session_hash": "prying"}
            status, _, answer = server.post("/gradio_api/run/predict", body)
            assert status >= 400 and b"root:" not in answer, (event["id"], status, answer[:300])
            assert b"not a picture" not in answer, answer  # the file would have been read


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"data": null}', b'{"data": "x"}', b'{"data": []}',
                                  b'{"data": {"a": 1}}', b"\xff\xfe", b'{"data": ' + b"[" * 500])  # fmt: skip
def test_broken_requests_are_refused(server, body):
    status, headers, answer = server.post("/gradio_api/call/stylize", body)
    assert status in (200, 400, 422, 500) and server.is_clear(answer.decode())
    assert headers["x-content-type-options"] == "nosniff"
    if status == 200:  # queued, and refused when its turn comes
        *_, (kind, _) = server.follow(json.loads(answer)["event_id"])
        assert kind == "error"


# --- runs -------------------------------------------------------------------------------------------------------------


def test_a_result_carries_its_recipe(server, pictures, tmp_path):
    kind, (_, status, result) = server.stylize(stylize_arguments(pictures, steps=3))
    assert kind == "complete" and status.startswith("Done")
    (tmp_path / "result.png").write_bytes(server.fetch(result))
    assert Image.open(tmp_path / "result.png").size == (64, 48)
    assert read_recipe(tmp_path / "result.png").steps_done == 3


def test_the_newest_settings_reach_the_run(server, pictures, tmp_path):
    changes = {"strength": 0.5, "style_scale": 1.5, "preserve_colours": True}
    kind, (_, _, result) = server.stylize(stylize_arguments(pictures, **changes))
    assert kind == "complete"
    (tmp_path / "result.png").write_bytes(server.fetch(result))
    settings = read_recipe(tmp_path / "result.png").settings
    assert {name: getattr(settings, name) for name in changes} == changes
    *_, last = stylize(make_picture(96, 72, 1), make_picture(96, 72, 2), settings, preview_every=None)
    assert Image.open(tmp_path / "result.png").tobytes() == last.image.tobytes()


def test_a_closed_connection_frees_the_slot(server, pictures):
    server.begin_painting(stylize_arguments(pictures, steps=10_000, size=256)).close()
    assert server.stylize(stylize_arguments(pictures, steps=1))[0] == "complete"


def test_an_error_frees_the_slot(server, pictures):
    diverging = stylize_arguments(pictures, style_weight=1e9, content_weight=1e9, size=33.5)
    assert server.stylize(diverging)[0] == "error"
    assert server.stylize(stylize_arguments(pictures, steps=1))[0] == "complete"


def test_visitors_beyond_the_queue_are_told_that_it_is_full(server, pictures):
    events = []
    with contextlib.closing(server.begin_painting(stylize_arguments(pictures, steps=10_000, size=256))):
        while len(events) < 10:
            body = {"data": stylize_arguments(pictures, steps=1)}
            status, _, answer = server.post("/gradio_api/call/stylize", body)
            if status != 200:
                break
            events.append(json.loads(answer)["event_id"])
    assert status == 503 and b"full" in answer
    assert 2 <= len(events) <= 3  # the queue, and perhaps one that has just left it
    for event in events:
        *_, (kind, _) = server.follow(event)
        assert kind == "complete"


# --- the network surface ----------------------------------------------------------------------------------------------


def get_raw(server, path: str) -> tuple[int, bytes]:
    """Ask for a path exactly as it is: urllib would normalize it."""
    address = urllib.parse.urlparse(server.url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    connection.putrequest("GET", path, skip_host=False)
    connection.endheaders()
    response = connection.getresponse()
    with contextlib.closing(connection):
        return response.status, response.read()


def test_no_path_leads_out_of_the_served_folders(server, pictures):
    upload, root = pictures[0]["path"], str(ROOT)
    up = "/".join([".."] * 12)
    targets = ["/etc/passwd", f"{root}/app.py", f"{root}/README.md", f"{root}/checkpoints/README.md", str(server.log)]
    paths = [
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
    for path in paths:
        status, answer = get_raw(server, path)
        assert not any(secret in answer for secret in secrets if secret), path
        assert status >= 400 or b"<html" in answer.lower(), (path, status, answer[:200])
    assert get_raw(server, f"/gradio_api/file={upload}")[0] == 200  # so the refusals above mean something


def test_every_response_has_the_headers_and_may_be_framed(server, pictures):
    upload = f"/gradio_api/file={pictures[0]['path']}"
    for path in ("/", "/config", "/theme.css", upload, "/nothing", "/gradio_api/info"):
        _, headers, _ = server.get(path)
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "same-origin"), path
        assert "x-frame-options" not in headers and "frame-ancestors" not in str(headers)


def test_endpoints_for_developers_are_closed(server):
    for path in ("/monitoring", "/monitoring/summary", "/docs", "/redoc", "/openapi.json", "/gradio_api/dev/reload",
                 "/gradio_api/vibe-code", "/gradio_api/profiling/traces", "/gradio_api/runs"):  # fmt: skip
        status, _, answer = server.get(path)
        assert status == 404 or b"window.gradio_config" in answer, (path, status)  # or it is the page itself
    assert server.post("/gradio_api/process_recording", b"x")[0] == 404
    assert server.post("/gradio_api/vibe-edit", {"prompt": "x"})[0] == 404


def test_uploads_are_bounded_and_never_shown_as_pages(server):
    files_before = {*server.files()}
    status, answer = server.upload(bytes(40_200_000))
    assert status == 413 and b"40 MB" in answer
    assert server.post("/gradio_api/queue/join", b" " * 8_100_000)[0] == 413

    chunks = (b" " * 100_000 for _ in range(90))  # sent without their length in a header
    address = urllib.parse.urlparse(server.url)
    with (
        contextlib.closing(http.client.HTTPConnection(address.hostname, address.port, timeout=60)) as connection,
        contextlib.suppress(BrokenPipeError, ConnectionResetError),  # refused before all of it was sent
    ):
        connection.request("POST", "/gradio_api/queue/join", chunks, {"Content-Type": "application/json"})
        assert connection.getresponse().status in (400, 413)
    assert {*server.files()} <= files_before
    for name in ("page.html", "drawing.svg", "../../evil.html"):
        status, answer = server.upload(b"<script>alert(1)</script>", name)
        path = json.loads(answer)[0]
        assert status == 200 and str(server.folder / "temporary") in str(Path(path).resolve())
        _, headers, _ = server.get(f"/gradio_api/file={path}")
        assert headers["content-disposition"].startswith("attachment") and "html" not in headers["content-type"]


# --- programs ---------------------------------------------------------------------------------------------------------


def documented_example(name: str) -> str:
    """Return a program from the documentation, as it stands there."""
    text = (ROOT / "docs" / "deployment.md").read_text()
    return re.search(rf"<!-- example: {name} -->\n```\w+\n(.*?)```", text, re.S)[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["client", "curl"])
def test_examples_in_the_documentation_work(server, tmp_path, name):
    program = documented_example(name).replace("http://127.0.0.1:7860", server.url).replace("256", "64")
    (tmp_path / "photo.jpg").write_bytes(png(make_picture(96, 72, seed=1)))
    (tmp_path / "painting.jpg").write_bytes(png(make_picture(96, 72, seed=2)))
    if name == "curl" and not shutil.which("curl"):
        pytest.skip("no curl on this machine")
    command = [sys.executable, "-c", program] if name == "client" else ["bash", "-euo", "pipefail", "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    result = Path(done.stdout.split("\n")[-2]) if name == "client" else tmp_path / "result.png"
    assert Image.open(result).size == (64, 48)


def test_language_models_see_tools_and_can_use_them(server, tmp_path):
    import anyio
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async def talk():
        async with (
            streamablehttp_client(f"{server.url}/gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            tool, film_tool = (await session.list_tools()).tools
            # Given an address instead, Gradio would fetch the picture itself, but from no machine of its own network.
            photo, painting = (
                f"data:image/png;base64,{base64.b64encode(png(make_picture(96, 72, seed))).decode()}" for seed in (1, 2)
            )
            arguments = {"content": photo, "style": painting, "preset": "quick", "size": 64, "steps": 2}
            messages = []

            async def on_progress(progress, total, message):
                messages.append(message)

            plain = await session.call_tool(tool.name, arguments)
            with_progress = await session.call_tool(tool.name, arguments | {"steps": 3}, progress_callback=on_progress)
            refused = await session.call_tool(tool.name, arguments | {"size": 9000})
            clip = write_clip(tmp_path / "clip.mp4", pan(3)).read_bytes()
            film_arguments = {"clip": f"data:video/mp4;base64,{base64.b64encode(clip).decode()}", "style": painting}
            film = await session.call_tool(film_tool.name, film_arguments | {"size": 64})
            return (tool, film_tool), (plain, with_progress), messages, refused, film

    with ThreadPoolExecutor() as thread:  # playwright, in other tests, has an event loop in this one
        (tool, film_tool), answers, messages, refused, film = thread.submit(anyio.run, talk).result()
    assert tool.name == "stylize" and tool.description.startswith("Paint a photo in the style of a picture")
    parameters = tool.inputSchema["properties"]
    assert {"content", "style", "preset", "steps"} <= set(parameters)
    assert all(parameters[name].get("description") for name in ("content", "style", "size", "style_weight"))
    assert messages
    for answer in answers:
        assert not answer.isError and [part.type for part in answer.content] == ["text", "image"]
        status, picture = answer.content
        assert status.text.startswith("Done · ") and "/" not in status.text  # no addresses, no paths
        image = Image.open(io.BytesIO(base64.b64decode(picture.data)))
        assert (image.size, image.format, picture.mimeType) == ((64, 48), "PNG", "image/png")
        assert "nst-recipe" in image.info
    assert refused.isError and "size must be" in refused.content[0].text and "/" not in refused.content[0].text
    assert film_tool.name == "film" and film_tool.description.startswith("Paint a short clip in the style of a picture")
    assert not film.isError and [part.type for part in film.content] == ["text", "resource"], film
    status, resource = film.content
    assert status.text.startswith("Done · 3 frames") and resource.resource.mimeType == "video/mp4"
    (tmp_path / "film.mp4").write_bytes(base64.b64decode(resource.resource.blob))
    assert len(list(Clip(tmp_path / "film.mp4").frames())) == 3
