"""The documentation names what exists: files, links, Python names, commands and their flags."""

import ast
import contextlib
import functools
import importlib
import io
import re
import runpy
import shlex
from pathlib import Path

import pytest

from helpers.shell import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# The command that begins with these words prints its flags with --help. Longer beginnings come first.
PROGRAMS = [
    ("-m", "nst", "batch"),
    ("-m", "nst", "grid"),
    ("-m", "nst", "style"),
    ("-m", "nst", "video"),
    ("-m", "nst", "app"),
    ("-m", "nst"),
    ("-m", "nst.bench"),
    ("app.py",),
    ("train.py",),
    ("tests/tools/reliability",),
    ("tests/tools/replicas.py",),
    ("tests/tools/space_sandbox.py",),
    ("tests/tools/quality.py",),
]


def code_blocks(document: Path) -> list[tuple[str, str]]:
    """Return the language and the text of every code block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", document.read_text(), re.M | re.S)


def inline_code(document: Path) -> list[str]:
    """Return every text between backticks outside the code blocks."""
    prose = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.M | re.S)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]


def commands(document: Path) -> list[list[str]]:
    """Return the words of every command, without comments; a command that is continued on the next line is one."""
    lines = [line for kind, text in code_blocks(document) if kind in ("bash", "sh", "shell")
             for line in text.replace("\\\n", " ").splitlines()]  # fmt: skip
    lines += [code for code in inline_code(document) if re.match(r"(\w+=\S+ )*(python3?|nst|torchrun) ", code)]
    return [split_words(part) for line in lines for part in re.split(r"&&|;|\|", line)]


def split_words(command: str) -> list[str]:
    try:
        return shlex.split(command, comments=True)
    except ValueError:  # a part of a text in quotes that has several lines
        return command.split()


def program(words: list[str]) -> tuple[str, ...] | None:
    """Return the member of PROGRAMS that a command runs."""
    words = ["-m", "nst", *words[1:]] if words[:1] == ["nst"] else words
    for start in PROGRAMS:
        if any(tuple(words[i : i + len(start)]) == start for i in range(len(words))):
            return start
    return None


@functools.cache
def known_flags(start: tuple[str, ...]) -> set[str]:
    """Return the flags that a program lists with --help. It runs in this process, which has imported torch already."""
    is_module = start[0] == "-m"
    name, *rest = start[1:] if is_module else start
    run = runpy.run_module if is_module else runpy.run_path
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        patch.chdir(ROOT)
        patch.setattr("sys.argv", [name, *rest, "--help"])
        patch.syspath_prepend((ROOT / name).parent)
        with pytest.raises(SystemExit) as end:
            run(name, run_name="__main__")
    assert not end.value.code, start
    return {"--help", *re.findall(r"(?<![\w-])--?[a-z][\w-]*", output.getvalue())}


def flags(words: list[str]) -> list[str]:
    return [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word) and word != "-m"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files_and_headings(document):
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        path, _, heading = link.partition("#")
        if "://" in path:
            continue
        target = document.parent / path if path else document
        assert target.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.M)
            anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading in anchors, link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths_exist(document):
    top = "|".join(re.escape(path.name) for path in ROOT.iterdir() if not path.name.startswith("."))
    words = [word for code in inline_code(document) for word in code.split()]
    words += [word for command in commands(document) for word in command]
    for word in words:
        if re.fullmatch(rf"({top})(/[\w.*/-]*)?", word):
            assert list(ROOT.glob(word.rstrip("/"))), word


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_python_names_can_be_imported(document):
    for name in inline_code(document):
        if re.fullmatch(r"nst(\.\w+)+", name):
            resolve(name)


def resolve(name: str) -> object:
    """Import the longest beginning of a dotted name that is a module, and return the attribute that the rest names."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        return functools.reduce(getattr, parts[end:], found)
    raise AssertionError(f"no module {name}")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_python_examples_compile_and_import_what_exists(document):
    for kind, text in code_blocks(document):
        if kind != "python":
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)


@pytest.mark.slow  # every program that is named starts once, to print its flags
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_have_the_flags_that_are_named(document):
    for words in commands(document):
        if start := program(words):
            unknown = set(flags(words)) - known_flags(start)
            # torchrun has flags of its own, before the program's.
            if "torchrun" not in words:
                assert not unknown, shlex.join(words)
    every_flag = set().union(*map(known_flags, PROGRAMS), *map(flags, commands(document)))  # other programs' too
    for code in inline_code(document):
        if code.startswith("--"):
            assert set(flags(shlex.split(code))) <= every_flag, code
