"""The page of results: contrast of its colours, and its looks on a phone and a laptop."""

import re

import pandas as pd
import pytest
from chromium import CHROMIUM, DRIVER, browser
from gallery_pages import add_result, claims_table
from helpers import small_preset

from advlook.report import gallery
from advlook.report.gallery import write_gallery


def test_colours_can_be_read():
    """Text has the contrast that WCAG asks for, 4.5, on page and card, in light and in dark."""
    style = (gallery.TEMPLATES / "gallery.html").read_text()
    schemes = [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", style, re.S)]
    assert len(schemes) == 2
    for colours in schemes:
        for ground in (colours.pop("page"), colours["card"]):
            texts = {name: colour for name, colour in colours.items() if name not in ("card", "line")}
            assert len(texts) == 7
            assert {name: c for name, c in texts.items() if contrast(c, ground) < 4.5} == {}


def contrast(one, other):
    """The ratio of WCAG 2 of two colours #rrggbb."""

    def luminance(colour):
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no chromium and chromedriver on the PATH; Debian: chromium, chromium-driver"
)
def test_a_phone_never_scrolls_sideways_and_nothing_jumps(folder, tmp_path):
    """At 390 and 1280 px nothing is wider than the window, all pictures load, and the page is as high as before."""
    wide = pd.DataFrame([[1.2345e-7] * 30 + ["word " * 40]] * 3)
    add_result(folder, "tables/01_wide.csv", table=wide)
    add_result(folder, "tables/08_claims.csv", table=claims_table(unit="points of relative accuracy"))
    path = write_gallery(folder, small_preset())
    with browser(tmp_path) as window:
        for width in (390, 1280):
            metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width == 390}
            window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            window.get(path.as_uri())
            assert window.execute_script("return document.documentElement.scrollWidth") <= width
            height = "return document.documentElement.scrollHeight"
            before = window.execute_script(height)
            broken = window.execute_async_script(LOAD_ALL)
            assert broken == []
            assert window.execute_script(height) == before


LOAD_ALL = """
const done = arguments[0], pictures = [...document.images];
pictures.forEach(picture => { picture.loading = "eager"; });
Promise.allSettled(pictures.map(picture => picture.decode())).then(results =>
    done(pictures.filter((picture, k) => results[k].status === "rejected").map(picture => picture.src)));
"""
