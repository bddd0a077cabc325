"""The stages of a painting, chosen with a slider."""

import gradio as gr

from nst import Film
from nst.web.session import Session


def clamp_to_slider(elem_id: str) -> str:
    """Return the script for events of a slider that take the session, the slider's number, and other values.

    Gradio refuses a number beyond the slider's ends before it reaches the event, and then drops the next event too.
    """
    return f"""(session, number, ...others) => {{
  const slider = document.querySelector('#{elem_id} input[type=range]');
  return [session, Math.min(Math.max(number, +slider.min), +slider.max), ...others];
}}"""


def stage_slider(film: Film) -> gr.Slider:
    """Return the slider for a film: from its first picture to its last, where it stands."""
    return gr.Slider(1, max(2, len(film.stored)), len(film.stored), interactive=len(film.stored) > 1)


def show_stage(session: Session, number: int):
    """Return the stage with that number, from 1."""
    if session.run is None:
        return gr.skip()
    film = session.run.film
    return film.frame(min(int(number), len(film.stored)) - 1)
