"""How the page looks: theme and style sheet. Fonts are the visitor's own, so nothing is fetched from elsewhere."""

import gradio as gr

THEME = gr.themes.Soft(primary_hue="indigo", neutral_hue="slate", font=["system-ui", "sans-serif"])
CSS = """
.gradio-container { max-width: 1240px !important; margin: auto; }
#title h1 { font-size: 1.9rem; margin-bottom: 0.1rem; }
#title p { opacity: 0.85; margin-top: 0; }
#output img, #content img, #style img { object-fit: contain; }
#stylize, #stop { min-height: 3rem; font-size: 1.05rem; }
#examples tbody { display: flex; flex-wrap: wrap; gap: 0.6rem; padding: 0.4rem; }
#examples thead { display: none; }
#examples tr { display: inline-flex; border: 0; border-radius: 0.6rem; background: transparent; }
#examples td { padding: 0.15rem; border: 0; }
#examples img, #examples .container { height: 84px !important; width: 84px !important; object-fit: cover; }
"""
