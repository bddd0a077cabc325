"""The line about a long run: it has the size in px and the time, and short runs have none."""

import pytest

from nst import StyleSettings
from nst.cli import duration
from nst.estimation import Estimate


@pytest.mark.parametrize(
    "size, seconds, line",
    [
        (8192, 1480, "nst: 8192 x 5461 px takes about 25 minutes\n"),
        (2048, 61, "nst: 2048 x 1365 px takes about 1 minute\n"),
        (4096, 7300, "nst: 4096 x 2731 px takes about 2 hours\n"),
        (2048, 59, ""),
        (512, 1e6, ""),  # so small that no time is measured
    ],
)
def test_only_a_long_run_is_announced(random_checkpoint, monkeypatch, capfd, size, seconds, line):
    monkeypatch.setattr(duration, "estimate", lambda *_: Estimate(seconds, 0))
    duration.announce_duration((3000, 2000), StyleSettings(size=size, backbone=str(random_checkpoint)))
    assert capfd.readouterr().err == line
