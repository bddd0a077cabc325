"""Measure the peak memory of one run in a fresh process.

`python -m nst.tools.benchmark.memory SIDE PRECISION` prints it as JSON.
"""

import json
import resource
import subprocess
import sys
import time

from nst.settings import PRESETS, StyleSettings
from nst.tools.benchmark.pictures import example_pair


def measure_in_fresh_process(side: int, precision: str) -> dict:
    """Return `peak_bytes` and `seconds` of the default preset on a 4:3 pair of that long side, two steps per stage.

    From 2048 px on only the final size is painted: the coarser stages need less memory and would take minutes.
    """
    command = [sys.executable, "-m", "nst.tools.benchmark.memory", str(side), precision]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])


def main(side: int, precision: str) -> None:
    """Paint in this process, and print the peak of its memory as JSON."""
    from nst.stylization import stylize

    scales = PRESETS["balanced"].scales if side < 2048 else 1
    settings = StyleSettings.preset("balanced", size=side, precision=precision, scales=scales, steps=2 * scales)
    photo, painting = (picture.resize((side, side * 3 // 4)) for picture in example_pair())
    started = time.perf_counter()
    for _ in stylize(photo, painting, settings, preview_every=None):
        pass
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"peak_bytes": peak, "seconds": seconds}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
