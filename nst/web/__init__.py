"""The page's parts, one topic a module; `app.py` puts them together. Knows Gradio, and nothing of torch."""
