"""What visitors do on the page, for the tests in a real browser."""

import base64
import io
import re
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page, expect

from nst import StyleSettings

SMALL_RUN = "?preset=quick&size=64&steps=12&scales=1"  # quick, and small enough to repeat in the test's own process
SMALL_SETTINGS = StyleSettings.preset("quick", size=64, steps=12, scales=1)  # of SMALL_RUN
IMAGE_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp", ".avif": "image/avif",
               ".gif": "image/gif", ".bmp": "image/bmp", ".ico": "image/x-icon"}  # fmt: skip
ENDED = re.compile(r"^(Done|Stopped)")


def upload_pictures(page: Page, photo: Path, painting: Path) -> None:
    for target, path in (("#content", photo), ("#style", painting)):
        upload(page, target, path)


def upload(page: Page, target: str, path: Path) -> None:
    """Give the input `target` a picture, instead of the one that it may show."""
    if (clear := page.locator(f"{target} button[aria-label*='lear'], {target} button[aria-label*='emove']")).count():
        clear.first.click()
    page.locator(f"{target} input[type=file]").first.set_input_files(path)
    expect(page.locator(f"{target} img").first).to_be_visible()


def status(page: Page) -> Locator:
    return page.locator("#status textarea")


def press_and_wait(page: Page, button: str = "#stylize") -> str:
    """Press a button that starts a run, and wait for the run's end. Return the status at the end."""
    status(page).evaluate("(box) => box.value = ''")  # an earlier end; small runs are too quick to be seen in between
    page.locator(button).click()
    expect(status(page)).to_have_value(ENDED)
    expect(page.locator("#continue")).to_have_text(re.compile(r"Continue to \d+"))
    expect(page.locator("#continue")).to_be_enabled()
    return status(page).input_value()


def toggle_sections(page: Page, *titles: str) -> None:
    """Open the sections with these titles, or close those that are open."""
    for title in titles:
        page.get_by_role("button", name=re.compile(f"^{title}")).first.click()


def open_tab(page: Page, title: str) -> None:
    page.get_by_role("tab", name=title).click()


def set_number(page: Page, field: str, value: float) -> None:
    """Type a number into a slider's box. The slider turns a value beyond its end into its end.

    A section that has just been opened may lose what is typed in its first moments: then it is typed again.
    """
    box = page.locator(f"#{field} input[type=number]").first
    for _ in range(5):
        box.fill(str(value))
        box.press("Tab")
        settle(page)
        if float(box.input_value()) == min(value, float(box.get_attribute("max"))):
            return
    raise AssertionError(f"{field} does not keep {value}")


def settle(page: Page, seconds: float = 0.3) -> None:
    """Wait until nothing in the page's document has changed for so long. Raises AssertionError after 60 s.

    Gradio notes the state of every event, also of a timer's, in frames that are hidden: these do not count.
    """
    is_quiet = page.evaluate(
        """async (quiet) => {
          const start = performance.now();
          let last = start;
          const counts = ({target}) => !(target.closest ? target : target.parentElement)?.closest(".wrap.hide");
          const observer = new MutationObserver((changes) => {
            if (changes.some(counts)) last = performance.now();
          });
          const everything = {subtree: true, childList: true, attributes: true, characterData: true};
          observer.observe(document, everything);
          while (performance.now() - last < quiet && performance.now() - start < 60000)
            await new Promise((done) => setTimeout(done, 50));
          observer.disconnect();
          return performance.now() - last >= quiet;
        }""",
        1000 * seconds,
    )
    assert is_quiet, "the page does not stop changing"


def download(page: Page, button: str, folder: Path) -> Path:
    """Press a download button. Return the file's path in `folder`."""
    expect(page.locator(button)).to_be_enabled()
    with page.expect_download() as caught:
        page.locator(button).click()
    path = folder / caught.value.suggested_filename
    caught.value.save_as(path)
    return path


# Draw an image element on white, as it is painted; return its PNG.
DRAW_ON_WHITE = """async (image) => {
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0);
  return canvas.toDataURL("image/png").split(",")[1];
}"""


def read_image(page: Page, image: str) -> Image.Image:
    """Return the pixels of an `img` element on white, read by the browser."""
    data = page.locator(image).first.evaluate(DRAW_ON_WHITE)
    return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


def shown_on_white(page: Page, path: Path) -> Image.Image:
    """Return a picture file as the browser shows it on a white page. Raises playwright's Error if it cannot."""
    url = f"data:{IMAGE_TYPES[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"
    page.set_content("<img id='shown'>")
    page.evaluate("(url) => { document.getElementById('shown').src = url; }", url)
    return read_image(page, "#shown")
