"""The plot of a run's losses, drawn while it paints."""

import gradio as gr
import pandas as pd  # comes with Gradio, whose plots take its tables

SECONDS = 0.5  # between two drawings: each costs the browser 26 ms
MAX_POINTS = 60  # of each curve
COLOURS = {"content": "#0d9488", "style": "#ea580c"}  # a contrast of 3 to 1 on light and dark


def loss_plot() -> gr.LinePlot:
    """Lay out the plot."""
    return gr.LinePlot(
        None, x="step", y="loss", color="part", color_map=COLOURS, color_title=" ", height=210, buttons=[],
        x_title="step", y_title="weighted loss", label="Losses (teal: content, orange: style)", elem_id="losses",
    )  # fmt: skip


def loss_table(rows: list[tuple[int, float, float]]) -> pd.DataFrame:
    """Return the plot's table from (step, content, style) of every step, thinned to `MAX_POINTS` for each curve."""
    interval = -(-len(rows) // MAX_POINTS) or 1
    thinned = rows[::-1][::interval][::-1]  # the latest step is always included
    points = [(step, part, value) for step, *parts in thinned for part, value in zip(COLOURS, parts, strict=True)]
    # The types are explicit, because those of an empty table would make the plot treat numbers as names.
    return pd.DataFrame(points, columns=["step", "part", "loss"]).astype({"step": int, "part": str, "loss": float})
