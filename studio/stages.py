"""The stages of a painting under a slider."""

import gradio as gr

from nst import Film
from studio.visit import Visit


def scrubber_for(film: Film) -> gr.Slider:
    return gr.Slider(1, max(2, len(film.stored)), len(film.stored), interactive=len(film.stored) > 1)


def stage_event(visit: Visit, number: int):
    """The stage of that number, from 1."""
    if visit.run is None:
        return gr.skip()
    film = visit.run.film
    return film.frame(min(max(int(number), 1), len(film.stored)) - 1)
