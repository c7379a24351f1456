"""Takes the README's picture of a divergence map, from a run's own page, in the system's Chromium.

    python docs/screenshot.py runs/quickstart/<run>/divergence_map.html docs/divergence_map.png --view 'step=0&token=12'

``--view`` is what stands behind the ``#`` in the page's address; every view of a page has an address of its own.
"""

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--view", default="")
    parser.add_argument("--size", type=int, nargs=2, default=(1180, 860), metavar=("WIDTH", "HEIGHT"))
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        parser.error("there is no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": options.size[0], "height": options.size[1]})
        page.goto(f"{options.page.absolute().as_uri()}#{options.view}")
        page.wait_for_selector("html[data-ready]")
        page.screenshot(path=options.picture)
        browser.close()


if __name__ == "__main__":
    main()
