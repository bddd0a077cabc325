"""The host's options: flags count more than environment variables, and these more than defaults."""

import pytest

from helpers.refusals import refusal
from helpers.shell import ENVIRONMENT, ROOT, shell
from nst.web.options import Options, read_options
from nst.web.server import main


def test_flags_count_more_than_variables_and_these_more_than_defaults():
    environment = {"GRADIO_SERVER_PORT": "8000", "NST_TIME_LIMIT": "60", "NST_MAX_SIZE": ""}
    options = read_options(["--port", "9000", "--queue-size=5"], environment)
    assert (options.port, options.queue_size, options.time_limit) == (9000, 5, 60)
    assert options.max_size == Options().max_size  # an empty variable counts as none
    assert read_options([], {}) == Options()


@pytest.mark.parametrize("value", ["0", "-1", "1e3", "x", "9" * 30, "", "1.5", "٣"])
def test_an_unusable_value_is_refused_with_the_flag_or_variable_to_mend(value):
    assert "--queue-size must be a whole number from 1 to" in refusal(read_options, [f"--queue-size={value}"], {})
    if value:
        assert "NST_CONCURRENCY must be" in refusal(read_options, [], {"NST_CONCURRENCY": value})


def test_an_unusable_host_and_an_unknown_flag_are_refused():
    assert "--host must be" in refusal(read_options, ["--host", "two words"], {})
    assert "--nonsense" in refusal(read_options, ["--nonsense"], {})


@pytest.mark.parametrize(("text", "path"), [
    ("/painter", "/painter"), ("painter/", "/painter"), ("/a/b-1/", "/a/b-1"), ("/", ""),
    ("https://host:8443/painter/", "https://host:8443/painter"), ("http://[::1]/x", "http://[::1]/x"),
])  # fmt: skip
def test_a_root_path_is_taken_with_and_without_slashes(text, path):
    assert read_options(["--root-path", text], {}).root_path == path
    assert read_options([], {"GRADIO_ROOT_PATH": text}).root_path == path


@pytest.mark.parametrize(
    "text", ["/two words", "/a?b", "/a#b", "/../a", "//host/a", "/a//b", "ftp://host/a", "/ä", "https:"]
)
def test_an_unusable_root_path_is_refused(text):
    assert "--root-path must be a path such as /painter" in refusal(read_options, ["--root-path", text], {})
    assert "GRADIO_ROOT_PATH must be" in refusal(read_options, [], {"GRADIO_ROOT_PATH": text})


def test_the_documentation_lists_every_option():
    documentation = (ROOT / "docs" / "deployment.md").read_text()
    for line in shell("app.py", "--help").stdout.splitlines():
        if line.strip().startswith("--"):
            assert f"`{line.split()[0]}`" in documentation, line
    for variable in ("GRADIO_SERVER_NAME", "NST_QUEUE_SIZE", "NST_DISK_LIMIT"):
        assert f"`{variable}`" in documentation


def test_app_py_refuses_an_unusable_option_in_one_line():
    done = shell("app.py", "--port", "x")
    assert done.returncode == 1 and "--port must be" in done.stderr, done.stderr
    assert done.stderr.startswith("app.py: ") and done.stderr.count("\n") == 1


def test_an_unusable_folder_for_temporary_files_is_refused_in_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("in the way")  # as a read-only folder would be, in which root may write
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "file"))
    assert main([]) == 1
    error = capsys.readouterr().err
    assert error.startswith("app.py: ") and "GRADIO_TEMP_DIR" in error and error.count("\n") == 1


def test_reading_the_options_imports_neither_gradio_nor_torch():
    """So `--help` and refusals come at once, and Gradio is imported only after its variables are set."""
    code = "import sys, nst.web.server; print([name for name in ('gradio', 'torch') if name in sys.modules])"
    assert shell("-c", code, env=ENVIRONMENT).stdout.strip() == "[]"
