"""Self-contained HTML pages with embedded figures."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape
from pathlib import Path

from redoxmd.files.records import read_bytes, write_text

STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:100em;margin:2em auto;padding:0 1em}table{border-collapse:collapse;"
    "font-size:13px}th,td{padding:.2em .7em;border-bottom:1px solid #ccc;text-align:left}div{overflow-x:auto}"
    "h2{margin:1em 0 .2em}p,ul{margin:.3em 0}"
    "img{max-width:100%}figure{margin:0}.figures{display:flex;flex-wrap:wrap;gap:1em}.figures figure{flex:1 1 30em}"
)


def write_html(path: str | Path, title: str, body: Iterable[str]) -> None:
    """Write a page with a title above `body`, which is HTML, atomically."""
    head = f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    write_text(path, "\n".join([head, f"<h1>{escape(title)}</h1>", *body, "</html>\n"]))


def embed_svg(path: str | Path, title: str) -> str:
    """An SVG file as HTML that needs no other file."""
    image = base64.b64encode(read_bytes(path)).decode()
    return f'<img alt="{escape(title)}" src="data:image/svg+xml;base64,{image}">'
