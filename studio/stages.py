"""The stages of a painting under a slider."""

import gradio as gr
from PIL import Image

from studio.visit import Visit


def scrubber_for(frames: list[Image.Image]) -> gr.Slider:
    return gr.Slider(1, max(2, len(frames)), len(frames), interactive=len(frames) > 1)


def stage_event(visit: Visit, number: int):
    """The stage of that number, from 1."""
    frames = visit.run.film.frames if visit.run else []
    return frames[min(max(int(number), 1), len(frames)) - 1] if frames else gr.skip()
