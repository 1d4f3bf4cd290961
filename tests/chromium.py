"""Headless Chromium for the tests that look at a page."""

import shutil
from contextlib import contextmanager

from selenium import webdriver

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@contextmanager
def browser(folder):
    """A Chromium without a window, with a profile of its own; the last thing it showed stays as screen.png."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    flags = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,900")
    for flag in (*flags, f"--user-data-dir={folder / 'chromium'}"):
        options.add_argument(flag)
    with webdriver.Chrome(options, webdriver.ChromeService(DRIVER)) as window:
        try:
            window.set_script_timeout(60)
            yield window
        finally:
            window.save_screenshot(str(folder / "screen.png"))
