"""What visitors do on the page, for the tests in a real browser."""

import re
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect

SMALL_RUN = "?preset=quick&size=64&steps=12&scales=1"  # quick, and small enough for the shell to repeat
ENDED = re.compile(r"^(Done|Stopped)")


def upload_pictures(page: Page, photo: Path, painting: Path) -> None:
    for target, path in (("#content", photo), ("#style", painting)):
        upload(page, target, path)


def upload(page: Page, target: str, path: Path) -> None:
    """Give a picture, in place of one that may be there."""
    if (clear := page.locator(f"{target} button[aria-label*='lear'], {target} button[aria-label*='emove']")).count():
        clear.first.click()
    page.locator(f"{target} input[type=file]").first.set_input_files(path)
    expect(page.locator(f"{target} img").first).to_be_visible()


def status(page: Page):
    return page.locator("#status textarea")


def press_and_wait(page: Page, button: str = "#stylize") -> str:
    """Press it and wait for the end; what the status then says."""
    status(page).evaluate("(box) => box.value = ''")  # an earlier end; small runs are too quick to be seen in between
    page.locator(button).click()
    expect(status(page)).to_have_value(ENDED)
    expect(page.locator("#continue")).to_have_text(re.compile(r"Continue to \d+"))
    expect(page.locator("#continue")).to_be_enabled()
    return status(page).input_value()


def toggle_sections(page: Page, *titles: str) -> None:
    for title in titles:
        page.get_by_role("button", name=re.compile(f"^{title}")).first.click()


def open_tab(page: Page, title: str) -> None:
    page.get_by_role("tab", name=title).click()


def set_number(page: Page, field: str, value: float) -> None:
    """Type it; again if it is lost, as it is in the first moments of an accordion that has just been opened.

    What is beyond the slider's end becomes its end.
    """
    box = page.locator(f"#{field} input[type=number]").first
    for _ in range(5):
        box.fill(str(value))
        box.press("Tab")
        page.wait_for_timeout(200)
        if float(box.input_value()) == min(value, float(box.get_attribute("max"))):
            return
    raise AssertionError(f"{field} does not keep {value}")


def download(page: Page, button: str, folder: Path) -> Path:
    expect(page.locator(button)).to_be_enabled()
    with page.expect_download() as caught:
        page.locator(button).click()
    path = folder / caught.value.suggested_filename
    caught.value.save_as(path)
    return path


def read_image(page: Page, image: str) -> Image.Image:
    """The pixels of an `img` on the page, read by the browser."""
    import base64
    import io

    url = page.locator(image).first.evaluate(
        """async (image) => {
          await image.decode();
          const canvas = document.createElement("canvas");
          [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
          canvas.getContext("2d").drawImage(image, 0, 0);
          return canvas.toDataURL("image/png");
        }"""
    )
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")
