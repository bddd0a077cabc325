"""The long forms of the reliability checks: `python tests/reliability.py [THEME ...]`; all themes without names.

Each module of `tests/reliability` is a theme: `MINUTES` is about how long it takes on two cores, `run()` prints its
figures and raises where a promise is not kept.
"""

import importlib
import pkgutil
import sys
import time
import traceback
from pathlib import Path

TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS), str(TESTS.parent)]


def main(names: list[str]) -> int:
    folder = TESTS / "reliability"
    found = sorted(one.name for one in pkgutil.iter_modules([str(folder)]))
    if unknown := set(names) - set(found):
        sys.exit(f"reliability.py: no theme {', '.join(sorted(unknown))}; there are {', '.join(found)}")
    themes = {name: importlib.import_module(f"reliability.{name}") for name in names or found}
    minutes = sum(theme.MINUTES for theme in themes.values())
    print(f"About {minutes:g} minutes on two cores: {', '.join(f'{n} {t.MINUTES:g}' for n, t in themes.items())}")
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
