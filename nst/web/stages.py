"""The stages of a painting under a slider."""

import gradio as gr

from nst import Film
from nst.web.visit import Visit

# A number typed beyond the slider's ends is refused before it gets here, and the page then forgets the next event.
WITHIN_ENDS = """(visit, number) => {
  const slider = document.querySelector('#scrubber input[type=range]');
  return [visit, Math.min(Math.max(number, +slider.min), +slider.max)];
}"""


def scrubber_for(film: Film) -> gr.Slider:
    return gr.Slider(1, max(2, len(film.stored)), len(film.stored), interactive=len(film.stored) > 1)


def stage_event(visit: Visit, number: int):
    """The stage of that number, from 1."""
    if visit.run is None:
        return gr.skip()
    film = visit.run.film
    return film.frame(min(int(number), len(film.stored)) - 1)
