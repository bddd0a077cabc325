"""The page's components by name. `nst.web.layout` makes them, `nst.web.events` connects them."""

from dataclasses import dataclass

import gradio as gr
from gradio.components import Component

from nst.web.inputs import Picture
from nst.web.mixing import Mixing
from nst.web.network_tab import NetworkTab
from nst.web.regions import Regions
from nst.web.variations import VariationsPanel
from nst.web.video_tab import VideoTab


@dataclass(frozen=True)
class Inputs:
    """The left half of the page: pictures, buttons and settings."""

    content: Picture
    style: Picture
    preset: gr.Radio
    start: gr.Button
    stop: gr.Button
    resume: gr.Button
    swap: gr.Button
    controls: dict[str, Component]  # by field of StyleSettings
    mixing: Mixing
    regions: Regions
    result_file: gr.File
    make_link: gr.Button
    link: gr.Textbox
    saved_style: gr.Dropdown


@dataclass(frozen=True)
class Results:
    """The right half of the page: the picture as it grows, and what can be done with it."""

    picture: gr.Image
    comparison: gr.HTML
    stage: gr.Image
    stage_slider: gr.Slider
    make_webp: gr.Button
    make_mp4: gr.Button
    film: gr.File
    status: gr.Textbox
    numbers: gr.Markdown
    losses: gr.LinePlot
    download: gr.DownloadButton
    use_as_photo: gr.Button
    enlarge: gr.Button
    strength: gr.Slider
    file_kind: gr.Radio
    transparent: gr.Checkbox


@dataclass(frozen=True)
class GalleryPanel:
    """The pictures of this visit."""

    gallery: gr.Gallery
    description: gr.Markdown
    use_settings: gr.Button
    use_as_photo: gr.Button
    download: gr.DownloadButton


@dataclass(frozen=True)
class Page:
    """All components.

    session: the visitor's `Session`. base: the settings that the controls change, including those without a control.
    selected: the number of the picture that is selected in the gallery.
    """

    inputs: Inputs
    results: Results
    gallery: GalleryPanel
    variations: VariationsPanel
    video: VideoTab
    network: NetworkTab
    session: gr.State
    base: gr.State
    selected: gr.State
