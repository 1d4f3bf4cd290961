"""`index.html`: the figures and tables of one preset on a page that opens from the disk, without a server."""

import html
import json
from pathlib import Path

import pandas as pd

from advlook.config import Preset
from advlook.files import write_atomically

ROWS = 200  # of a table on the page; a browser has trouble with tens of thousands

_STYLE = """
body{font:16px/1.55 system-ui,sans-serif;color:#222;background:#fafafa;margin:0}
main{max-width:1080px;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.7rem;margin:0 0 .3rem} h2{font-size:1.15rem;margin:2.6rem 0 .6rem}
figure{margin:0;background:#fff;border:1px solid #e3e3e3;border-radius:8px;padding:1rem}
figure img{max-width:100%;display:block;margin:auto} figcaption{margin-top:.8rem}
.paper{color:#666;font-size:.92rem} a{color:#0072b2} .scroll{overflow-x:auto;max-height:26rem;overflow-y:auto}
table{border-collapse:collapse;font-size:.88rem;background:#fff;width:100%}
td,th{padding:.25rem .6rem;border-bottom:1px solid #eee;text-align:right} th{background:#f3f3f3;position:sticky;top:0}
.failed{border-left:4px solid #b00020;background:#fff;padding:.6rem 1rem}
"""


def write_gallery(folder: Path, preset: Preset) -> Path:
    """Write `folder/index.html` from whatever results lie there, and return its path.

    Everything shown is read from the files: captions and the "paper / here" line from each figure's JSON.
    """
    figures = sorted(folder.glob("*.png"))
    tables = sorted((folder / "tables").glob("*.csv"))
    notebooks = sorted((folder / "notebooks").glob("*.ipynb"))
    failed = sorted((folder / "failed").glob("*.ipynb"))
    parts = [
        f"<h1>What do adversarially robust models look at?</h1><p>{html.escape(preset.title)} (preset "
        f"<code>{preset.name}</code>)</p>",
        "<p>Notebooks: " + ", ".join(_link(f"notebooks/{path.name}", path.stem) for path in notebooks) + "</p>",
    ]
    parts += [
        f"<p class='failed'>{html.escape(path.stem)} failed in its last run; what is shown of it is from before. "
        f"{_link(f'failed/{path.name}', 'Partial copy')}</p>"
        for path in failed
    ]
    parts += [_figure(path) for path in figures]
    parts += [_table(path) for path in tables]
    if not figures and not tables:
        parts.append("<p>No results yet.</p>")
    page = (
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>advlook: {preset.name}</title><style>{_STYLE}</style><main>{''.join(parts)}</main></html>\n"
    )
    path = folder / "index.html"
    write_atomically(path, lambda partial: partial.write_text(page))
    return path


def _figure(path: Path) -> str:
    record = _record(path)
    caption = html.escape(str(record.get("caption", path.stem)))
    return (
        f"<h2 id='{path.stem}'>{_heading(path)}</h2><figure><a href='{path.name}'><img src='{path.name}' "
        f"alt='{caption}'></a><figcaption>{caption}<br><span class='paper'>{html.escape(str(record.get('paper', '')))}"
        f"</span><br>{_link(f'{path.stem}.pdf', 'PDF')} · {_link(f'{path.stem}.json', 'how it was made')}"
        "</figcaption></figure>"
    )


def _table(path: Path) -> str:
    table = pd.read_csv(path)
    shown = table[:ROWS].to_html(index=False, border=0, float_format=lambda value: f"{value:.4g}")
    note = f"The first {ROWS} of {len(table):,} rows. " if len(table) > ROWS else ""
    return (
        f"<h2 id='table-{path.stem}'>Table {_heading(path)}</h2><div class='scroll'>{shown}</div><p>{note}"
        f"{_link(f'tables/{path.name}', 'CSV')} · {_link(f'tables/{path.stem}.json', 'how it was made')}</p>"
    )


def _heading(path: Path) -> str:
    return html.escape(path.stem.replace("_", " "))


def _record(path: Path) -> dict[str, object]:
    try:
        return json.loads(path.with_suffix(".json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def _link(target: str, text: str) -> str:
    return f"<a href='{html.escape(target)}'>{html.escape(text)}</a>"
