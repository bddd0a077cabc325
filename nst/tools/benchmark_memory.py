"""The peak memory of one run, measured from outside.

`python -m nst.tools.benchmark_memory SIDE PRECISION` prints it as JSON.
"""

import json
import resource
import subprocess
import sys
import time


def in_a_fresh_process(side: int, precision: str) -> dict:
    """peak_bytes and seconds of the default preset on a 4:3 pair with that long side, two steps at every size.

    From 2048 px on at the full size only: the coarser ones need less, and would take minutes.
    """
    command = [sys.executable, "-m", "nst.tools.benchmark_memory", str(side), precision]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(side: int, precision: str) -> None:
    from nst.settings import PRESETS, StyleSettings
    from nst.stylization import stylize
    from nst.tools.benchmark import Bench

    bench = Bench(full=False)
    scales = PRESETS["balanced"].scales if side < 2048 else 1
    settings = StyleSettings.preset("balanced", size=side, precision=precision, scales=scales, steps=2 * scales)
    photo, painting = (one.resize((side, side * 3 // 4)) for one in (bench.photo, bench.painting))
    started = time.perf_counter()
    for _ in stylize(photo, painting, settings, preview_every=None):
        pass
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"peak_bytes": peak, "seconds": seconds}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
