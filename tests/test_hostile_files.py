"""A hostile or odd file becomes a picture or one clear line: in Python, in the shell and in the upload field."""

from types import SimpleNamespace

import gradio as gr
import pytest
from PIL import Image

from helpers.refusals import refusal
from helpers.shell import ENVIRONMENT, shell
from nst import StyleSettings, load_picture, stylize
from nst.cli import main
from nst.errors import StyleTransferError
from nst.io import decoding, reading
from nst.output.recipe import describe
from nst.output.results import save_result
from tools.corpus import EITHER, PICTURE, REFUSED, make_corpus
from tools.reliability.hostile_files import check, find_leaks, is_one_line, read_all

PAINT_EVERY = 12  # these tests paint one in twelve files; tests/tools/reliability paints all of them
pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL", r"ignore:::gradio")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def outcomes(corpus):
    """The outcome of reading each file, and the memory in MB that this took."""
    return read_all(corpus, PAINT_EVERY)


@pytest.mark.slow
def test_every_file_is_a_picture_or_one_line_in_python(corpus, outcomes):
    readings, memory = outcomes
    assert len(corpus) >= 300
    check(corpus, readings)
    assert memory < 500  # MB, for files of at most 12 megapixels


@pytest.mark.slow
def test_every_file_is_a_picture_or_one_line_in_the_upload_field(corpus, outcomes):
    from nst.web.inputs import Picture

    field = Picture(label="Photo")
    for case, read in zip(corpus, outcomes[0], strict=True):
        if not case.is_uploadable:
            continue
        payload = SimpleNamespace(path=str(case.path), orig_name=case.path.name, url=None)
        try:
            picture = field.preprocess(payload)
            assert picture.info.pop("path") == case.path  # the server's own copy
            assert picture.mode in ("RGB", "RGBA") and not picture.info and not picture.getexif()
            outcome = PICTURE
        except gr.Error as error:
            outcome = REFUSED
            assert is_one_line(error.message, case.path), (case.path.name, error.message)
            assert error.message.startswith("Photo: ") and not error.print_exception
        assert outcome == read["outcome"], case.path.name


@pytest.mark.slow
def test_every_file_is_a_picture_or_one_line_in_the_shell(corpus, outcomes, tmp_path, capsys):
    """The test calls `main` in this process, as the command does, because that is quicker."""
    for case, read in list(zip(corpus, outcomes[0], strict=True))[:: PAINT_EVERY + 1]:
        output = tmp_path / "result.png"
        flags = ["--size", "32", "--steps", "1", "-o", str(output)]
        status = main([str(case.path), str(corpus[0].path), *flags])
        out, err = capsys.readouterr()
        assert not out and "Traceback" not in err and str(case.path.parent) not in err, (case.path.name, err)
        if status == 0:
            assert read["outcome"] == PICTURE and not find_leaks(output.read_bytes()), case.path.name
            output.unlink()
        else:
            (line,) = err.splitlines()
            assert status == 2 and line.startswith("nst: ") and is_one_line(line, case.path), (case.path.name, err)
            assert read["outcome"] == REFUSED or "short side" in line, (case.path.name, err)
            assert not output.exists()


@pytest.mark.slow
def test_a_real_shell_shows_one_line(corpus, tmp_path):
    (case,) = (case for case in corpus if case.path.name.endswith("lines \x1b[31m.png"))
    result = shell("-m", "nst", case.path, case.path, "-o", tmp_path / "result.png")
    assert result.returncode == 2 and result.stderr.count("\n") == 1, result.stderr
    assert is_one_line(result.stderr[:-1], case.path)


@pytest.mark.slow
def test_a_file_name_that_is_not_text_can_be_printed(tmp_path):
    """File names are bytes, and the terminal here has only ASCII."""
    path = tmp_path / b"caf\xe9.png".decode("utf-8", "surrogateescape")
    path.write_bytes(b"not a picture")
    environment = ENVIRONMENT | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    result = shell("-m", "nst", path, path, "-o", tmp_path / "result.png", env=environment)
    assert result.returncode == 2
    assert result.stderr.startswith("nst: caf?.png: not a picture") and result.stderr.count("\n") == 1


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp"])
def test_results_contain_nothing_private(corpus, tmp_path, suffix):
    """PNG and TIFF files contain the picture and its recipe, and nothing else."""
    private = [case.path for case in corpus if case.path.stem.endswith("-private")]
    assert len(private) >= 5
    settings = StyleSettings(size=32, steps=1, style_levels=1)
    for path in private:
        assert find_leaks(path.read_bytes()), f"{path.name} should hold something private"
        *_, step = stylize(path, path, settings)
        recipe = describe(path, path, settings)
        result = save_result(step.image, tmp_path / f"result.{suffix}", recipe)
        assert not find_leaks(result.read_bytes()), path.name
        with Image.open(result) as image:
            assert not image.getexif().get_ifd(34853) and "icc_profile" not in image.info


def test_over_http_a_file_is_a_picture_or_one_line_as_in_python(corpus):
    from gradio_client import Client, handle_file

    from nst.web.inputs import Picture

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
            is_picture = can_be_loaded(case.path)
            assert case.expected in (PICTURE if is_picture else REFUSED, EITHER), case.path.name
            try:
                assert client.predict(handle_file(str(case.path)), api_name="/read").startswith("(")
                assert is_picture, case.path.name
            except Exception as error:
                if isinstance(error, AssertionError):
                    raise
                message = str(error).split(" The upstream Gradio app")[0]
                assert not is_picture and case.path.name in message and "/tmp" not in message, message
                assert "Traceback" not in message and "\n" not in message, message
    finally:
        page.close()


def can_be_loaded(path) -> bool:
    try:
        load_picture(path)
    except StyleTransferError:
        return False
    return True


# Limits


def test_a_file_over_a_gigabyte_is_refused_without_reading_it(tmp_path):
    large = tmp_path / "large.png"
    with open(large, "wb") as file:
        file.truncate(reading.MAX_BYTES + 1)
    assert "1024 MB" in refusal(load_picture, large)


def test_no_other_program_runs_for_a_postscript_file(corpus, monkeypatch):
    """EPS files are programs, and Pillow would give them to Ghostscript."""
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("ran a program"))
    monkeypatch.setattr("subprocess.check_call", lambda *_, **__: pytest.fail("ran a program"))
    monkeypatch.setattr("PIL.EpsImagePlugin.has_ghostscript", lambda: True)
    for case in corpus:
        if case.path.suffix == ".eps":
            assert "not a picture" in refusal(load_picture, case.path)


def test_large_pictures_are_decoded_one_at_a_time(tmp_path, monkeypatch):
    """Many visitors who upload large pictures need no more memory than a single visitor."""
    import threading
    import time

    monkeypatch.setattr(decoding, "LARGE", 1000)
    path = tmp_path / "large.png"
    Image.new("RGB", (100, 100)).save(path)
    turn_upright, running, counts = decoding.turn_upright, [], []

    def turn_upright_slowly(image):
        running.append(image)
        counts.append(len(running))
        time.sleep(0.05)
        running.pop()
        return turn_upright(image)

    monkeypatch.setattr(decoding, "turn_upright", turn_upright_slowly)
    threads = [threading.Thread(target=load_picture, args=[path]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [1] * 4


@pytest.mark.parametrize("place", ["PIL.Image.open", "nst.io.decoding.to_srgb", "pathlib.Path.read_bytes"])
def test_too_little_memory_is_one_line(corpus, monkeypatch, place):
    def run_out_of_memory(*_, **__):
        raise MemoryError

    monkeypatch.setattr(place, run_out_of_memory)
    assert "not enough memory" in refusal(load_picture, corpus[0].path)


# AVIF and HEIC use the same container


def file_type_box(major: bytes, *compatible: bytes) -> bytes:
    """Return the first box of a file, which lists its brands, and some zeros."""
    body = major + b"\0\0\0\0" + b"".join(compatible)
    return (8 + len(body)).to_bytes(4, "big") + b"ftyp" + body + bytes(200)


@pytest.mark.parametrize(
    ("brands", "is_heic"),
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
def test_all_brands_of_a_file_decide_whether_it_is_heic_or_avif(tmp_path, brands, is_heic):
    (tmp_path / "a.avif").write_bytes(file_type_box(*brands))
    assert ("HEIC" in refusal(load_picture, tmp_path / "a.avif")) is is_heic


def test_an_avif_file_that_begins_as_mif1_is_read(tmp_path):
    path = tmp_path / "a.avif"
    picture = Image.new("RGB", (32, 32), "red")
    picture.save(path)
    data = path.read_bytes()
    path.write_bytes(data[:8] + b"mif1" + data[12:])
    assert b"avif" in data[16:64] and load_picture(path).size == (32, 32)


def test_the_same_seed_makes_the_same_corpus(corpus, tmp_path):
    again = make_corpus(tmp_path)
    assert [case.path.name for case in again] == [case.path.name for case in corpus]
    for case, other in zip(corpus, again, strict=True):
        contains_the_time = case.path.name.endswith("animated.avif")
        if case.is_uploadable and case.path.stat().st_size < 1 << 24 and not contains_the_time:
            assert case.path.read_bytes() == other.path.read_bytes(), case.path.name
