"""The look of the page: theme and style sheet. Fonts are the visitor's own, so nothing is fetched from other hosts."""

import gradio as gr

# Some colours are darker than Soft's, which do not reach a contrast of 4.5 to 1.
THEME = gr.themes.Soft(primary_hue="indigo", neutral_hue="slate", font=["system-ui", "sans-serif"]).set(
    background_fill_primary="*neutral_50",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_300",
    block_label_text_color="*primary_800",
    block_label_text_color_dark="*neutral_100",
    block_title_text_color="*primary_800",
    block_title_text_color_dark="*neutral_100",
    block_label_background_fill="*primary_50",
    block_title_background_fill="none",
    block_title_padding="0",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_300",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_700",
    button_primary_background_fill_dark="*primary_600",
    button_primary_background_fill_hover_dark="*primary_700",
    button_secondary_background_fill_hover_dark="*primary_600",
    button_cancel_background_fill_hover_dark="*primary_600",
    checkbox_label_background_fill_selected="*primary_600",
    checkbox_label_background_fill_selected_dark="*primary_600",
    checkbox_background_color_selected="*primary_700",
    checkbox_border_color="*neutral_500",
    checkbox_border_width="1px",
)
CSS = """
.gradio-container { width: 100% !important; max-width: 1280px !important; margin: auto; } /* whatever it holds */
#title h1 { font-size: 1.9rem; margin-bottom: 0.1rem; }
#title p { margin-top: 0; }
footer > .divider:last-child { display: none; }
/* These are drawn as wide as their container. Without this, the container could not become narrower again. */
#losses, #network .block, #gallery, #network_views .block { contain: inline-size; }
.vega-embed .role-legend { display: none; } /* it would be cut off; the plots' titles name the colours */
#output img, #stage img, #content img, #style img { object-fit: contain; }
#stage img { width: 100%; height: 100%; }
#status textarea { font-size: 1rem; padding-block: 0.4rem; border-top-left-radius: 0; border-top-right-radius: 0; }
#status { margin-top: calc(-1 * var(--layout-gap)); } /* the picture's lower edge */
#saving { align-items: center; }
.block input[type="range"]:focus-visible { outline: 2px solid var(--primary-500); outline-offset: 4px; }
#transparent { min-width: 11.5rem !important; padding: 0; }
#transparent span { white-space: nowrap; }
#preset .wrap { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); }
#preset label { padding-inline: 0.6rem; }
#preset label span { white-space: nowrap; }
#stylize, #stop, #continue { min-height: 3rem; font-size: 1.05rem; }
#continue { font-size: 1rem; white-space: nowrap; }
#compare { min-height: 500px; }
.row_title { margin-bottom: -0.6rem; flex-shrink: 0; }
.row_title, .row_title .prose { overflow: visible !important; }
.examples { display: grid; grid-template-columns: repeat(auto-fill, minmax(5.1rem, 1fr)); gap: 0.4rem; }
.examples button.sm { flex-direction: column; width: 100% !important; padding: 0.25rem; gap: 0.15rem; font-size: 0.7rem;
  font-weight: 400; min-width: 0; white-space: nowrap; }
.examples button img { width: 100%; height: 3.4rem; max-width: none; object-fit: cover; border-radius: 0.3rem;
  margin: 0; }
#gallery .caption-label { opacity: 1 !important; }
#mask .empty, #part .empty { color: var(--body-text-color) !important; }
#controls .form > .block { flex: 1 1 220px; min-width: 220px !important; }
#variations_gallery .grid-container { grid-template-columns: repeat(2, minmax(0, 1fr)) !important; }
#photo_seen img, #painting_seen img { width: 100%; height: 100%; object-fit: contain; }
#network_views .grid-container { grid-template-columns: repeat(4, minmax(0, 1fr)) !important; }
#network_views .depths .grid-container { grid-template-columns: repeat(5, minmax(0, 1fr)) !important; }
.whole_gallery .grid-container { padding-top: 2rem; }
.whole_gallery .caption-label { font-size: 0.7rem; padding: 0.1rem 0.3rem; max-width: 100%; opacity: 1 !important; }
.whole_gallery .gallery-item, .whole_gallery .thumbnail-item { aspect-ratio: 3 / 2; width: 100%; height: auto; }
.whole_gallery .grid-wrap { min-height: 0; max-height: none; }
button[role="tab"].selected { color: var(--primary-700) !important; }
.dark button[role="tab"].selected { color: var(--primary-300) !important; }
@media (max-width: 768px) { /* the picture comes before the controls */
  #work { flex-direction: column; flex-wrap: nowrap; }
  #inputs { display: contents; }
  #advanced { order: 2; }
  #results { order: 1; }
}
@media (max-width: 500px) { /* the drop zones are side by side, so that the button is near */
  #title h1 { font-size: 1.5rem; }
  .examples { grid-template-columns: repeat(4, 1fr); }
  .examples button.sm { padding: 0.15rem; font-size: 0.65rem; }
  #status textarea { height: 4.8rem !important; }
  #results { min-width: 0 !important; width: 100%; }
  #views .tab-container button { padding-inline: 0.5rem; font-size: 0.85rem; }
  #preset .wrap { grid-template-columns: 1fr 1fr; }
  #preset label { padding-inline: 0.5rem; font-size: 0.85rem; }
  #pictures, #film_inputs { flex-wrap: nowrap; gap: 0.5rem; }
  #pictures > .block, #film_inputs > .block { min-width: 0 !important; }
  #run > button { min-width: 0 !important; padding-inline: 0.5rem; }
  #continue { font-size: 0.9rem; white-space: normal; }
  #compare, #output, #stage, #film_frame, #film_result { min-height: 0; height: 300px !important; }
  #network_views .caption-label { font-size: 0.6rem; padding: 0 0.2rem; }
  #network_views .grid-container { grid-template-columns: repeat(2, minmax(0, 1fr)) !important; align-content: start; }
  #network_views .depths .grid-container { grid-template-columns: repeat(3, minmax(0, 1fr)) !important; }
  #network_views .depths .grid-container { padding-top: 3rem; } /* its label has two lines */
  #gallery .grid-container { grid-template-columns: repeat(3, 1fr) !important; }
}
"""
# - Gradio's empty picture frames have a label without a role, which screen readers may leave out.
# - Gradio refuses a dropped file that the system does not call a picture, such as .tga or .jp2 on many systems. Here
#   the server decides what a picture is, so such a file is dropped again with a type that Gradio takes.
SCRIPT = """() => {
  const addRoles = () => document.querySelectorAll('div[aria-label="Empty value"]:not([role])').forEach(
    (frame) => frame.setAttribute("role", "img"));
  new MutationObserver(addRoles).observe(document.body, {childList: true, subtree: true});
  addRoles();
  document.addEventListener("drop", (event) => {
    const files = [...event.dataTransfer.files];
    if (!event.target.closest(".picture_field") || files.every((file) => file.type.startsWith("image/"))) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const typed = new DataTransfer();
    files.forEach((file) => typed.items.add(new File([file], file.name, {type: "image/unknown"})));
    event.target.dispatchEvent(new DragEvent("drop", {dataTransfer: typed, bubbles: true, cancelable: true}));
  }, true);
}"""
