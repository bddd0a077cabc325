"""The structure of the package: who may import what, no cycles, and no module that is too long to read."""

import ast
from pathlib import Path

import pytest

from helpers.shell import ROOT

MAX_LINES = 300
PACKAGE = ROOT / "nst"
FILES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def imported_names(path: Path) -> set[str]:
    """Return all modules that a file imports, also inside functions; names of this package's modules in full."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {member if member in MODULES else node.module for member in members}
    return names


IMPORTS = {name: imported_names(path) for name, path in MODULES.items()}


def find_cycle(edges: dict[str, set[str]]) -> list[str]:
    """Return a cycle of a graph as the list of its nodes; empty if there is none."""
    finished: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return path[path.index(node) :]
        if node in finished:
            return []
        for successor in sorted(edges.get(node, ())):
            if cycle := visit(successor, [*path, node]):
                return cycle
        finished.add(node)
        return []

    return next(filter(None, (visit(node, []) for node in sorted(edges))), [])


def test_cycles_are_found():
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert find_cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_modules_import_each_other_without_a_cycle():
    edges = {name: imports & MODULES.keys() - {"nst"} for name, imports in IMPORTS.items() if name != "nst"}
    assert find_cycle(edges) == []


def test_folders_import_each_other_without_a_cycle():
    """Each file of the package's own folder counts as a folder."""

    def folder(module: str) -> str:
        parts = module.split(".")
        return ".".join(parts[:2])

    edges: dict[str, set[str]] = {}
    for name, imports in IMPORTS.items():
        if name != "nst":
            targets = {folder(module) for module in imports & MODULES.keys() - {"nst"}}
            edges.setdefault(folder(name), set()).update(targets - {folder(name)})
    assert find_cycle(edges) == []


@pytest.mark.parametrize("library", ["gradio", "gradio_client", "starlette"])
def test_only_the_web_part_imports(library):
    importers = {name for name, imports in IMPORTS.items() if library in {n.partition(".")[0] for n in imports}}
    assert importers and all(name.startswith("nst.web.") for name in importers)


def test_the_web_part_does_not_import_torch():
    for name, imports in IMPORTS.items():
        if name.startswith("nst.web"):
            assert not {"torch", "torchvision"} & {module.partition(".")[0] for module in imports}, name


def test_the_method_does_not_import_what_is_built_on_it():
    above = ("nst.output", "nst.training", "nst.tools", "nst.examples", "nst.web", "nst.cli", "nst.bench")
    below = ("nst.io", "nst.models", "nst.engine")
    method = ("nst.objective", "nst.losses", "nst.targets", "nst.canvas", "nst.optimize", "nst.stylization")
    for name in MODULES:
        if name.startswith((*below, *method)):
            assert not [module for module in IMPORTS[name] if module.startswith(above)], name


def test_one_optimization_step_is_read_in_five_files():
    """The loop, the objective, the losses, the network and the canvas hold a plain step.

    They import only what is computed before it, what makes it faster, and the vocabulary.
    """
    step = {"nst.optimize", "nst.objective", "nst.losses", "nst.models.vgg", "nst.canvas"}
    speed = {"nst.engine.tiling", "nst.engine.winograd", "nst.engine.cuda_network", "nst.optimize_cuda"}
    before_the_step = {"nst.targets", "nst.models.checkpoints", "nst.engine.hardware", "nst.settings"}
    vocabulary = {"nst.layers", "nst.errors", "nst.io.colour", "nst.io.tensors"}
    for name in step:
        others = IMPORTS[name] & MODULES.keys() - step - speed - before_the_step - vocabulary
        assert not others, f"{name} imports {others}"


@pytest.mark.parametrize("path", [*FILES, ROOT / "app.py"], ids=str)
def test_no_module_is_too_long(path):
    assert len(path.read_text().splitlines()) <= MAX_LINES


def test_no_two_modules_of_a_folder_share_a_name():
    stems = [(path.parent, path.stem) for path in FILES if path.stem != "__init__"]
    packages = [(path.parent.parent, path.parent.name) for path in FILES if path.stem == "__init__"]
    assert not set(stems) & set(packages)
