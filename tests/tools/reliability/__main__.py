"""The long forms of the reliability checks: `python tests/tools/reliability [THEME ...]`; without names, all themes.

Each other module in this folder is a theme: `MINUTES` is about how long it takes on two cores; `run()` prints its
figures and raises AssertionError where a promise is broken.
"""

import argparse
import importlib
import sys
import time
import traceback
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
TESTS = FOLDER.parents[1]
# Python puts this folder on the path, where a theme could hide another module of its name.
sys.path[:1] = [str(TESTS), str(TESTS.parent)]
THEMES = sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


def main(arguments: list[str]) -> int:
    """Run the named themes. Return 0 if every promise is kept, else 1."""
    parser = argparse.ArgumentParser(prog="python tests/tools/reliability", description="Run long reliability checks.")
    parser.add_argument("themes", metavar="THEME", nargs="*", help=f"{', '.join(THEMES)} (default: all)")
    names = parser.parse_args(arguments).themes
    if unknown := sorted(set(names) - set(THEMES)):
        parser.error(f"no theme {', '.join(unknown)}; there are {', '.join(THEMES)}")
    themes = {name: importlib.import_module(f"tools.reliability.{name}") for name in names or THEMES}
    minutes = sum(theme.MINUTES for theme in themes.values())
    each = ", ".join(f"{name} {theme.MINUTES:g}" for name, theme in themes.items())
    print(f"About {minutes:g} minutes on two cores: {each}")
    failed = []
    for name, theme in themes.items():
        print(f"--- {name}", flush=True)
        started = time.monotonic()
        try:
            theme.run()
        except Exception:
            traceback.print_exc()
            failed.append(name)
        print(f"    {(time.monotonic() - started) / 60:.1f} minutes", flush=True)
    print(f"failed: {', '.join(failed)}" if failed else "all promises kept")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
