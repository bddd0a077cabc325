"""The benchmark: how fast, how large and how soon, as ratios within one run. `python -m nst.bench` runs it."""
