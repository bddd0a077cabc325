"""Make the README's animation: a film of an example pair, as the app makes films of its runs.

    python tests/tools/animation.py docs/painting.webp [--size 320]
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nst import Film, StyleSettings, stylize
from nst.examples import painting_path, photo_path

PHOTO, PAINTING = "chelsea", "oil"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output")
    parser.add_argument("--size", type=int, default=320, help="long side in px; the file must stay under 1 MB")
    args = parser.parse_args()
    settings = StyleSettings(size=args.size)
    film = Film()
    interval = Film.interval(settings.steps)
    for step in stylize(photo_path(PHOTO), painting_path(PAINTING), settings, preview_every=interval):
        film.add(step)
    print(f"{film.save(args.output).stat().st_size / 1e6:.2f} MB, {step.seconds:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
