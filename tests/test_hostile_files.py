"""Hostile and odd files, through Python, the shell and the upload field: a picture, or one clear line."""

import json
from types import SimpleNamespace

import gradio as gr
import pytest
from PIL import Image

from helpers.refusals import refusal
from helpers.shell import ENVIRONMENT, shell
from nst import StyleSettings, load_picture, stylize
from nst.cli import main
from nst.io import decoding, reading
from nst.output.recipe import describe
from nst.output.results import save_result
from reliability.hostile_files import check, leaks, one_line, read_all
from tools.corpus import PICTURE, REFUSED, make_corpus

SHARE = 12  # every so many-th file is painted here; all of them by the long form
pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL", r"ignore:::gradio")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def outcomes(corpus):
    """What became of each file when it was read, and the MB that this took."""
    return read_all(corpus, SHARE)


def test_every_file_is_a_picture_or_one_line_in_python(corpus, outcomes):
    found, memory = outcomes
    assert len(corpus) >= 300
    check(corpus, found)
    assert memory < 500  # MB; files of at most 12 megapixels


def test_every_file_is_a_picture_or_one_line_in_the_upload_field(corpus, outcomes):
    from nst.web.uploads import Picture

    field = Picture(label="Photo")
    for case, read in zip(corpus, outcomes[0], strict=True):
        if not case.regular:
            continue
        payload = SimpleNamespace(path=str(case.path), orig_name=case.path.name, url=None)
        try:
            picture = field.preprocess(payload)
            assert picture.info.pop("path") == case.path  # the server's own, for this visit
            assert picture.mode == "RGB" and not set(picture.info) - {"opacity"} and not picture.getexif()
            outcome = PICTURE
        except gr.Error as error:
            outcome = REFUSED
            assert one_line(error.message, case.path), (case.path.name, error.message)
            assert error.message.startswith("Photo: ") and not error.print_exception
        assert outcome == read["outcome"], case.path.name


def test_every_file_is_a_picture_or_one_line_in_the_shell(corpus, outcomes, tmp_path, capsys):
    """In this process, which is quicker: `main` is all that the command is."""
    for case, read in list(zip(corpus, outcomes[0], strict=True))[:: SHARE + 1]:
        output = tmp_path / "result.png"
        flags = ["--size", "32", "--steps", "1", "-o", str(output)]
        status = main([str(case.path), str(corpus[0].path), *flags])
        out, err = capsys.readouterr()
        assert not out and "Traceback" not in err and str(case.path.parent) not in err, (case.path.name, err)
        if status == 0:
            assert read["outcome"] == PICTURE and not leaks(output.read_bytes()), case.path.name
            output.unlink()
        else:
            (line,) = err.splitlines()
            assert status == 2 and line.startswith("nst: ") and one_line(line, case.path), (case.path.name, err)
            assert read["outcome"] == REFUSED or "short side" in line, (case.path.name, err)
            assert not output.exists()


def test_a_real_shell_sees_one_line_too(corpus, tmp_path):
    (case,) = (case for case in corpus if case.path.name.endswith("lines \x1b[31m.png"))
    result = shell("-m", "nst", case.path, case.path, "-o", tmp_path / "result.png")
    assert result.returncode == 2 and result.stderr.count("\n") == 1, result.stderr
    assert one_line(result.stderr[:-1], case.path)


def test_a_name_that_is_no_text_can_be_printed(tmp_path):
    """File names are bytes; a terminal that speaks ASCII is the hardest to please."""
    bad = tmp_path / b"caf\xe9.png".decode("utf-8", "surrogateescape")
    bad.write_bytes(b"not a picture")
    environment = ENVIRONMENT | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    result = shell("-m", "nst", bad, bad, "-o", tmp_path / "result.png", env=environment)
    assert result.returncode == 2
    assert result.stderr.startswith("nst: caf?.png: not a picture") and result.stderr.count("\n") == 1


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp"])
def test_results_keep_nothing_private(corpus, tmp_path, suffix):
    """The recipe rides along in PNG and TIFF files, which is all that may."""
    private = [case.path for case in corpus if case.path.stem.endswith("-private")]
    assert len(private) >= 5
    settings = StyleSettings(size=32, steps=1, style_levels=1)
    for path in private:
        assert leaks(path.read_bytes()), f"{path.name} should hold something private"
        *_, step = stylize(path, path, settings)
        recipe = describe(path, path, settings)
        result = save_result(step.image, tmp_path / f"result.{suffix}", recipe)
        assert not leaks(result.read_bytes()), path.name
        with Image.open(result) as image:
            assert not image.getexif().get_ifd(34853) and "icc_profile" not in image.info


def test_over_http_a_file_is_a_picture_or_one_line(corpus, monkeypatch):
    from gradio_client import Client, handle_file

    from nst.web.uploads import Picture

    with gr.Blocks() as page:
        picture, size = Picture(label="Photo"), gr.Textbox()
        picture.change(lambda image: str(image.size), picture, size, api_name="read")
    names = {"private.jpg", "turned-6.jpg", "empty.png", "heic.heic", "bomb-20000.png", "archive.png", "drawing.svg",
             "postscript.eps", "noise-after-magic.png", "broken-exif-1.png", "cut-0.5-rgb.jpg"}  # fmt: skip
    chosen = [case for case in corpus if case.path.name.partition("-")[2] in names]
    assert len(chosen) == len(names)
    try:
        _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
        client = Client(address, verbose=False)
        for case in chosen:
            try:
                assert client.predict(handle_file(str(case.path)), api_name="/read").startswith("(")
                assert case.expected != REFUSED
            except Exception as error:
                if isinstance(error, AssertionError):
                    raise
                said = str(error).split(" The upstream Gradio app")[0]
                assert case.expected != PICTURE and case.path.name in said and "/tmp" not in said, said
                assert "Traceback" not in said and "\n" not in said, said
    finally:
        page.close()


# What a file may cost


def test_files_over_a_gigabyte_are_refused_unread(tmp_path):
    large = tmp_path / "large.png"
    with open(large, "wb") as file:
        file.truncate(reading.MAX_BYTES + 1)
    assert "1024 MB" in refusal(load_picture, large)


def test_no_other_program_is_run(corpus, monkeypatch):
    """Pillow would give EPS files, which are programs, to Ghostscript."""
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("ran a program"))
    monkeypatch.setattr("subprocess.check_call", lambda *_, **__: pytest.fail("ran a program"))
    monkeypatch.setattr("PIL.EpsImagePlugin.has_ghostscript", lambda: True)
    for case in corpus:
        if case.path.suffix == ".eps":
            assert "not a picture" in refusal(load_picture, case.path)


def test_large_pictures_are_decoded_one_at_a_time(tmp_path, monkeypatch):
    """So that the memory that a picture may take is taken once, however many visitors upload one."""
    import threading
    import time

    monkeypatch.setattr(decoding, "LARGE", 1000)
    inside, most, path = [], [], tmp_path / "large.png"
    Image.new("RGB", (100, 100)).save(path)
    original = decoding.turn_upright

    def slow(image):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.05)
        inside.pop()
        return original(image)

    monkeypatch.setattr(decoding, "turn_upright", slow)
    threads = [threading.Thread(target=load_picture, args=[path]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 4


@pytest.mark.parametrize("place", ["PIL.Image.open", "nst.io.decoding.to_srgb", "pathlib.Path.read_bytes"])
def test_too_little_memory_is_one_line(corpus, monkeypatch, place):
    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr(place, full)
    assert "not enough memory" in refusal(load_picture, corpus[0].path)


# AVIF and HEIC, which share a container


def ftyp(major: bytes, *compatible: bytes) -> bytes:
    body = major + b"\0\0\0\0" + b"".join(compatible)
    return (8 + len(body)).to_bytes(4, "big") + b"ftyp" + body + bytes(200)


@pytest.mark.parametrize(
    ("brands", "heic"),
    [
        ((b"heic",), True),
        ((b"mif1", b"mif1", b"heic"), True),
        ((b"mif1", b"miaf", b"MA1B"), True),
        ((b"mif1", b"mif1", b"avif", b"miaf"), False),
        ((b"avif", b"mif1"), False),
        ((b"msf1", b"avis"), False),
        ((b"isom", b"mp42"), False),
    ],
)
def test_heic_is_told_from_avif_by_all_its_brands(tmp_path, brands, heic):
    (tmp_path / "a.avif").write_bytes(ftyp(*brands))
    assert ("HEIC" in refusal(load_picture, tmp_path / "a.avif")) is heic


def test_an_avif_file_that_begins_as_mif1_is_read(tmp_path):
    path = tmp_path / "a.avif"
    picture = Image.new("RGB", (32, 32), "red")
    picture.save(path)
    data = path.read_bytes()
    path.write_bytes(data[:8] + b"mif1" + data[12:])
    assert b"avif" in data[16:64] and load_picture(path).size == (32, 32)


def test_the_corpus_is_the_same_from_the_same_seed(corpus, tmp_path):
    again = make_corpus(tmp_path)
    assert json.dumps([one.path.name for one in again]) == json.dumps([one.path.name for one in corpus])
    for one, other in zip(corpus, again, strict=True):
        holds_the_time = one.path.name.endswith("animated.avif")
        if one.regular and one.path.stat().st_size < 1 << 24 and not holds_the_time:
            assert one.path.read_bytes() == other.path.read_bytes(), one.path.name
