"""The losses of a run, drawn while it paints."""

import gradio as gr
import pandas as pd

SECONDS = 0.5  # between two drawings: each costs the browser 26 ms
MAX_POINTS = 60  # a curve
COLOURS = {"content": "#0d9488", "style": "#ea580c"}  # 3 to 1 on light and dark


def loss_plot() -> gr.LinePlot:
    return gr.LinePlot(
        None, x="step", y="loss", color="part", color_map=COLOURS, color_title=" ", height=210, buttons=[],
        x_title="step", y_title="weighted loss", label="Losses (teal: content, orange: style)", elem_id="losses",
    )  # fmt: skip


def table(rows: list[tuple[int, float, float]]) -> pd.DataFrame:
    """(step, content, style), weighted, of every step so far in long form, thinned to `MAX_POINTS` a curve."""
    every = -(-len(rows) // MAX_POINTS) or 1
    thinned = rows[::-1][::every][::-1]  # the latest is always among them
    points = [(step, part, value) for step, *parts in thinned for part, value in zip(COLOURS, parts, strict=True)]
    # The types are told: those of an empty table would make names of the numbers.
    return pd.DataFrame(points, columns=["step", "part", "loss"]).astype({"step": int, "part": str, "loss": float})
