"""The fixtures that tests share: a random network on disk, small pictures, labelled pictures, `train.py`, the app.

Functions and constants that tests share are in `tests/helpers`.
"""

import functools
import os
import random
import shutil
import signal
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from helpers.pictures import make_picture
from helpers.training import CLASS_COLOURS, NARROW, coloured, write_table

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# Tests draw their random numbers from this seed. Set the variable to repeat a run; xdist's workers inherit it.
SEED = int(os.environ.setdefault("TEST_SEED", str(random.SystemRandom().randrange(1_000_000))))


def pytest_report_header() -> str:
    return f"TEST_SEED={SEED}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with slow tests first: two processes that share the files then end at about the same time."""
    slow_files = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow_files)


@pytest.fixture
def rng() -> random.Random:
    """Random numbers that are others in every run of the suite, and the same for the same TEST_SEED."""
    return random.Random(SEED)


@pytest.fixture(autouse=True)
def same_start():
    """Every test begins with the same state of torch's random numbers, in whatever order tests run."""
    import torch

    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Compute with one thread in the tests' own process too, as `helpers.shell.ENVIRONMENT` does in others."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def heard_signals():
    """Hear Ctrl-C and SIGHUP, also where the tests were started by `nohup` or in the background, which ignore them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def random_checkpoint(tmp_path_factory) -> Path:
    """An exported VGG19 with random weights: for everything that does not depend on learned features."""
    import torch

    from nst.io.tensors import IMAGENET_MEAN, IMAGENET_STD
    from nst.models.checkpoints import save_checkpoint
    from nst.models.vgg import VGG19

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint") / "random.safetensors"
    metadata = {"dataset": "none", "epochs": 0, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    network = VGG19(100, pooling="average")
    for convolution in network.convolutions().values():  # near the identity, all layers would see the same
        torch.nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return save_checkpoint(network, path, metadata)


@pytest.fixture
def pictures(tmp_path) -> tuple[Path, Path]:
    """A photo of 96x72 and a painting of 80x80, as PNG files."""
    content, style = tmp_path / "photo.png", tmp_path / "painting.png"
    make_picture(96, 72, seed=1).save(content)
    make_picture(80, 80, seed=2).save(style)
    return content, style


@pytest.fixture
def small_levels(monkeypatch):
    """Let small pictures have pyramids too."""
    import nst.canvas

    for kind in ("pyramid", "smooth-pyramid", "deep-pyramid"):
        monkeypatch.setitem(nst.canvas.KINDS, kind, replace(nst.canvas.KINDS[kind], coarsest_side=4))


@pytest.fixture
def fast(random_checkpoint):
    """Settings with one scale of 64 px, three blocks, and the options that have most parts; from the photo itself."""
    from nst.settings import StyleSettings

    return StyleSettings(
        size=64, steps=3, scales=1, content_layers=("conv3_1",), style_layers=("conv1_1", "conv2_1", "conv3_1"),
        content_weight=4.0, style_statistic="covariance", canvas="smooth-pyramid", start_noise=0.0, sketch=False,
        match_palette=False, sharpness=0.0, backbone=str(random_checkpoint), device="cpu", precision="float32",
    )  # fmt: skip


@pytest.fixture
def two_stages(fast):
    """The settings `fast` with two scales: 64 px, then 128 px."""
    return replace(fast, size=128, scales=2, steps=4)


@pytest.fixture(scope="session")
def tables(tmp_path_factory) -> Path:
    """Twelve training and four test pictures of each colour, listed in train.csv and test.csv."""
    folder = tmp_path_factory.mktemp("tables")
    for split, numbers in (("train", range(12)), ("test", range(100, 104))):
        (folder / f"{split}_pictures").mkdir()
        rows = [("image", "label")]
        for number in numbers:
            for name in CLASS_COLOURS:
                path = Path(f"{split}_pictures") / f"{name}, {number}.png"
                Image.fromarray(coloured(name, number)).save(folder / path)
                rows.append((path, name))
        write_table(folder, *rows, name=f"{split}.csv")
    return folder


@pytest.fixture(scope="session")
def folders(tables, tmp_path_factory) -> Path:
    """The pictures of `tables`, one folder per class."""
    folder = tmp_path_factory.mktemp("folders")
    for split in ("train", "test"):
        for path in (tables / f"{split}_pictures").iterdir():
            target = folder / split / path.name.split(",")[0]
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    (folder / "train" / "sky" / "notes.txt").write_text("not a picture")
    return folder


# train.py


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder for training states, which are large: deleted when the module's tests are done."""
    folder = tmp_path_factory.mktemp("runs")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def train_py(monkeypatch, capsys):
    """Run train.py in this process, which has loaded torch already. Returns its exit status, stdout and stderr."""
    import torch

    import train

    def run(*arguments: object, width: float = 1.0):
        monkeypatch.setattr(sys, "argv", ["train.py"])  # argparse's messages name it
        random_state = torch.get_rng_state()
        code, message = 0, ""
        try:
            train.main(list(map(str, arguments)), width=width)
        except SystemExit as end:  # a message means status 1 and goes to stderr, as the interpreter does it
            code, message = (1, f"{end.code}\n") if isinstance(end.code, str) else (end.code, "")
        finally:
            torch.set_rng_state(random_state)
        out, err = capsys.readouterr()
        return SimpleNamespace(code=code, stdout=out, stderr=err + message)

    return run


@pytest.fixture
def train_narrow(train_py):
    """Run train.py with a narrow network: see `train_py`."""
    return functools.partial(train_py, width=NARROW)


# The app


@pytest.fixture(scope="session")
def app_url(tmp_path_factory):
    """The address of `python app.py` with its default options, started once."""
    from helpers.server import run_server

    with run_server(tmp_path_factory.mktemp("app")) as server:
        yield server.url


@pytest.fixture(scope="session")
def launch_chromium():
    """A function that starts a Chromium, with flags besides the usual ones."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        assert os.environ.get("CI") != "true", "no Chromium: install it, for example with apt-get install chromium"
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=60_000)  # a shared machine can be ten times slower than an idle one
    usual = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        yield lambda *flags: playwright.chromium.launch(executable_path=path, args=[*usual, *flags])


@pytest.fixture(scope="session")
def browser(launch_chromium):
    """A Chromium, started once."""
    chromium = launch_chromium()
    yield chromium
    chromium.close()


@contextmanager
def visitors(browser, app_url):
    """Yield a function that opens the page as a new visitor. All pages close with the block.

    Then no page may have asked another host for anything, and no script may have failed.
    """
    contexts, foreign_requests, script_errors = [], [], []

    def note_request(request) -> None:
        if request.url.startswith("http") and not request.url.startswith(app_url):
            foreign_requests.append(request.url)

    def visit(query: str = "", width: int = 1280, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, accept_downloads=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("request", note_request)
        page.on("pageerror", lambda error: script_errors.append(str(error)))
        page.goto(f"{app_url}/{query}")
        page.locator("#stylize").wait_for()
        return page

    try:
        yield visit
    finally:
        for context in contexts:
            context.close()
    assert not foreign_requests and not script_errors


@pytest.fixture
def visit(browser, app_url):
    """Open the page as a new visitor: `visit(query)`. See `visitors`."""
    with visitors(browser, app_url) as visit:
        yield visit


@pytest.fixture(scope="module")
def module_visit(browser, app_url):
    """As `visit`, for a page that several tests of a module use."""
    with visitors(browser, app_url) as visit:
        yield visit


@pytest.fixture
def page(visit):
    """The page as a new visitor sees it."""
    return visit()
