"""The page and its server. Only this package imports Gradio, and it imports no torch of its own."""
