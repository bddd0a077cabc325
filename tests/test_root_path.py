"""The page under a path of another site, behind a real nginx with the documented configuration."""

import re

import pytest
from PIL import Image

from helpers.browsing import SMALL_RUN, download, open_tab, press_and_wait, read_image, toggle_sections, upload_pictures
from helpers.nginx import needs_nginx, run_nginx
from helpers.pictures import make_picture
from helpers.server import call_tool, data_url, free_port, run_server, stylize_arguments
from helpers.shell import ROOT
from nst import read_recipe

pytestmark = [pytest.mark.slow, needs_nginx]

PATH = "/painter"
SITE = """
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    server {{ listen 127.0.0.1:{port}; {location} }}
}}
"""


def documented_location(port: int) -> str:
    """Return the block of the documentation, for an app at `port`."""
    text = (ROOT / "docs" / "deployment.md").read_text()
    block = re.search(r"<!-- example: nginx -->\n```nginx\n(.*?)```", text, re.S)[1]
    assert f"location {PATH}/ " in block and ":7860/" in block
    return block.replace(":7860/", f":{port}/")


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    with run_server(tmp_path_factory.mktemp("app"), "--root-path", PATH) as app:
        yield app


@pytest.fixture(scope="module")
def site(app, tmp_path_factory):
    """The app as visitors see it, through nginx."""
    folder, port = tmp_path_factory.mktemp("site"), free_port()
    configuration = SITE.format(folder=folder, port=port, location=documented_location(app.port))
    with run_nginx(folder, configuration, port, PATH) as site:
        yield site


@pytest.fixture(scope="module")
def app_url(site):
    """Then `visit` opens the page there, and fails if the page asks for anything outside that path."""
    return site.url


def pictures_that_are_broken(page) -> list[str]:
    return page.evaluate(
        "() => [...document.images].filter((e) => e.complete && !e.naturalWidth).map((e) => e.src.slice(0, 150))"
    )


def test_the_whole_page_works_under_the_path(visit, pictures, tmp_path, app_url):
    from playwright.sync_api import expect

    page = visit(SMALL_RUN)
    failed = []
    page.on("response", lambda response: response.status >= 400 and failed.append(response.url))
    page.wait_for_function("document.querySelector('#example_photos img')?.naturalWidth > 0")
    scan = tmp_path / "scan.tif"
    Image.open(pictures[0]).save(scan)
    upload_pictures(page, scan, pictures[1])  # the scan as a preview
    assert press_and_wait(page).startswith("Done")
    assert read_image(page, "#output img").size == (64, 48)
    assert read_recipe(download(page, "#download", tmp_path)).steps_done == 12

    open_tab(page, "Step by step")
    page.wait_for_function("document.querySelector('#stage img')?.naturalWidth == 64")
    page.locator("#make_webp").click()
    expect(page.locator("#film a").first).to_have_attribute("href", re.compile(f"^{re.escape(app_url)}/.*webp"))
    toggle_sections(page, "Pictures of this visit", "Advanced", "Keep and restore")
    page.wait_for_function("document.querySelector('#gallery img')?.naturalWidth > 0")
    page.locator("#gallery button.thumbnail-item").first.click()
    assert Image.open(download(page, "#download_chosen", tmp_path)).size == (64, 48)
    page.locator("#make_link").click()
    expect(page.locator("#link textarea, #link input").first).to_have_value(re.compile(f"^{re.escape(app_url)}/[?]"))

    open_tab(page, "Picture")
    for row, target in (("#example_photos", "#content"), ("#example_paintings", "#style")):
        page.locator(f"{row} button").first.click()
        page.wait_for_function(f"document.querySelector('{target} img').src.includes('/examples/')")
        assert read_image(page, f"{target} img").width > 64
    assert pictures_that_are_broken(page) == [] and failed == []


def test_programs_paint_under_the_path(site, tmp_path):
    from gradio_client import Client, handle_file

    kind, outputs = site.stylize(stylize_arguments(site.upload_pair(64, 48)))
    assert kind == "complete" and outputs[2]["url"].startswith(site.url)
    files = [tmp_path / f"{seed}.png" for seed in (1, 2)]
    for seed, file in enumerate(files):
        make_picture(64, 48, seed).save(file)
    client = Client(f"{site.url}/", verbose=False)
    *_, result = client.predict(*map(handle_file, map(str, files)), size=48, steps=1, api_name="/stylize")
    assert Image.open(result).size == (48, 36)
    photo, painting = (data_url(make_picture(64, 48, seed)) for seed in (1, 2))
    status, picture = call_tool(site.url, {"content": photo, "style": painting, "size": 48, "steps": 1})
    assert status.text.startswith("Done") and picture.type == "image"


@pytest.mark.parametrize("prefix", ["", PATH])
def test_what_is_closed_stays_closed_with_the_path_before_it(app, site, prefix):
    """Gradio takes the path away itself where the proxy has not done so."""
    for server in (app, site):
        assert server.get(f"{prefix}/config")[0] == 200
        for path in ("/monitoring", "/gradio_api/profiling/traces", "/gradio_api/vibe-code"):
            assert server.get(prefix + path)[0] == 404
        assert server.post(f"{prefix}/gradio_api/process_recording", b"x")[0] == 404
