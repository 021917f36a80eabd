"""Takes the pictures of docs/letters.md with Chromium: `make letter-pictures`."""

import os
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from shutil import which

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

FOLDER = Path(__file__).parent
WIDTHS = {"wide": 900, "phone": 390}
SCHEMES = ("light", "dark")
COLOURS = 48


def main() -> None:
    """Every letter, in every language, by day and by night, wide and on a phone."""
    with tempfile.TemporaryDirectory() as pages, sync_playwright() as playwright:
        command = [sys.executable, "-m", "operations", "letters", "preview", "--to", pages]
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"WALLETQ_COMPANY_NAME": "Acme Exchange"}
        )
        browser = playwright.chromium.launch(
            executable_path=which("chromium") or which("google-chrome"), args=["--no-sandbox", "--disable-gpu"]
        )
        for page in sorted(Path(pages).glob("*.html")):
            for scheme in SCHEMES:
                for width in WIDTHS:
                    small = smaller(picture(browser, page, scheme, WIDTHS[width]))
                    (FOLDER / f"{page.stem}-{scheme}-{width}.png").write_bytes(small)


def picture(browser: Browser, page: Path, scheme: str, width: int) -> bytes:
    """The whole page as a PNG."""
    tab = browser.new_page(viewport={"width": width, "height": 400}, color_scheme=scheme)
    tab.goto(page.as_uri())
    taken = tab.screenshot(full_page=True)
    tab.close()
    return taken


def smaller(png: bytes) -> bytes:
    """The same picture with fewer colours."""
    written = BytesIO()
    Image.open(BytesIO(png)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(
        written, "PNG", optimize=True
    )
    return written.getvalue()


if __name__ == "__main__":
    main()
