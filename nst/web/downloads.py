"""Files to download: the picture with more bits or its transparency, and the film of how it was painted."""

import gradio as gr

from nst.web.errors import readable_errors
from nst.web.session import Session
from nst.web.storage import new_result


def prepare_download(session: Session, kind: str, transparent: bool):
    """Return the download button with the latest result as a file of that kind."""
    if session.run is None:
        return gr.skip()
    with readable_errors():
        return gr.DownloadButton(value=str(session.run.export(kind, transparent)), interactive=True)


def make_film(suffix: str, session: Session):
    """Return the file component with a film of the latest run, `.webp` or `.mp4`."""
    with readable_errors():
        film = session.latest_run().film
        return gr.File(str(film.save(new_result(f"painting{suffix}"))), visible=True)
