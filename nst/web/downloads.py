"""Files to take home: the picture with more bits or its transparency, and the film of how it was painted."""

import gradio as gr

from nst.web.errors import readable_errors
from nst.web.storage import new_result
from nst.web.visit import Visit


def file_event(visit: Visit, kind: str, transparent: bool):
    """The latest result as the kind of file that is asked for."""
    if visit.run is None:
        return gr.skip()
    with readable_errors():
        return gr.DownloadButton(value=str(visit.run.save(kind, transparent)), interactive=True)


def film_event(suffix: str, visit: Visit):
    """The latest run as a film, `.webp` or `.mp4`."""
    with readable_errors():
        film = visit.finished_run().film
        return gr.File(str(film.save(new_result(f"painting{suffix}"))), visible=True)
