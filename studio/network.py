"""The backbone, shown: how it was trained and what it learnt to name."""

from typing import Any

import gradio as gr
import pandas as pd  # comes with gradio, which draws from its tables

from nst.bundled import bundled_checkpoint
from nst.card import read_metadata, superclass_accuracy


def training_curves() -> None:
    """Lay out what the bundled checkpoint tells of its training; nothing, if it tells nothing."""
    about = _about_network()
    if not about["curve"]:
        return
    with gr.Accordion("The network that looks at your pictures", open=False, elem_id="network"):
        gr.Markdown(about["text"])
        with gr.Row():
            for key, title in (("top1", "Top-1 in %"), ("loss", "Cross entropy")):
                gr.LinePlot(
                    pd.DataFrame([row for row in about["curve"] if row["measure"] == key]),
                    x="epoch", y="value", color="pictures", x_title="epoch", y_title=title, height=300,
                    buttons=[], color_map={"training": "#8a8a8a", "test": "#f97316"}, color_title=" ",
                    label=f"{title} by epoch (grey: training, orange: test)",
                )  # fmt: skip
        rates = {name: percent / 100 for name, percent in about["superclasses"].items()}
        gr.Label(rates, num_top_classes=20, show_heading=False, label="Test pictures named rightly, by kind")


def _about_network() -> dict[str, Any]:
    """A text, the curve in long form, top-1 by superclass."""
    metadata = read_metadata(bundled_checkpoint())
    names = {"train": "training", "test": "test"}
    curve = [
        {"epoch": row["epoch"], "measure": key, "pictures": name, "value": row[f"{split}_{key}"]}
        for row in metadata.get("curve", [])
        for split, name in names.items()
        for key in ("top1", "loss")
    ]
    text = (
        f"A VGG19 that learnt to name {metadata.get('pictures', 0):,} photos of {len(metadata['classes'])} kinds of "
        f"things ({metadata['dataset']}), in {metadata['epochs']} epochs, from nothing. Of pictures it has never seen "
        f"it names {metadata.get('top1')} % rightly; chance would be {100 / len(metadata['classes']):.0f} %."
    )
    return {"text": text, "curve": curve, "superclasses": superclass_accuracy(metadata.get("top1_by_class", {}))}
