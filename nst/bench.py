"""Measure on your machine what the documentation claims about speed and memory.

    python -m nst.bench                # a table; about 25 minutes on two cores
    python -m nst.bench --json         # the same as one JSON object
    python -m nst.bench --full         # also the comparisons that take an hour
    python -m nst.bench --only step    # the themes whose name contains a word

Every figure is a ratio within one run, or of a fresh process: machines differ, and one machine differs from hour to
hour. The plain loop to compare with is `nst.reference`.
"""

import argparse
import gc
import json
import sys
from dataclasses import asdict
from importlib import metadata

from nst.engine.hardware import describe_machine
from nst.engine.threads import limited_threads
from nst.tools.benchmark.measurements import Benchmark
from nst.tools.benchmark.target import Target

THEMES = (
    "step", "time_to_quality", "presets", "forecasts", "previews", "memory", "growth", "start", "again", "waiting",
    "numerics",
)  # fmt: skip
PACKAGES = ("torch", "torchvision", "gradio", "numpy", "pillow", "triton")


@limited_threads()
def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m nst.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--full", action="store_true", help="also the comparisons that take an hour")
    parser.add_argument("--only", metavar="WORD", default="", help=f"one of {', '.join(THEMES)}")
    args = parser.parse_args()
    benchmark = Benchmark(args.full)
    if not args.json:
        print(describe_machine(benchmark.auto))
    targets = []
    for theme in THEMES:
        if args.only not in theme:
            continue
        print(f"measuring: {theme}", file=sys.stderr, flush=True)
        for target in getattr(benchmark, theme)():
            targets.append(target)
            if not args.json:
                print(table_row(target), flush=True)
        gc.collect()
    if args.json:
        rows = [{"met": target.met, **asdict(target)} for target in targets]
        report = {"machine": describe_machine(benchmark.auto), "versions": package_versions(), "targets": rows}
        print(json.dumps(report))


def table_row(target: Target) -> str:
    """Return a target as one line of the table."""
    value = "not measured" if target.value is None else f"{target.value:.3g}"
    verdict = {True: "met", False: "MISSED", None: ""}[target.met]
    return f"{target.name:<58} {value:>12}  {target.sense} {target.goal:<5g} {verdict:<7} {target.note}".rstrip()


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that decide the figures, where they are installed."""
    return {d.name.lower(): d.version for d in metadata.distributions() if d.name.lower() in PACKAGES}


if __name__ == "__main__":
    main()
