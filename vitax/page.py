"""HTML of a report: one file that needs neither other files nor scripts nor a network."""

import base64
import html
import io
import math
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.figure import Figure

from vitax.data.decode import write_png

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; background: #fff; max-width: 1100px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.5em; margin-bottom: 0 } h2 { font-size: 1.15em; margin: 2em 0 .4em; border-bottom: 1px solid #d0d7de }
p { margin: .3em 0 } .note { color: #57606a; font-size: .92em } code { font-size: .9em; background: #f6f8fa }
table { border-collapse: collapse; margin: .5em 0 } td, th { padding: .15em .8em .15em 0; text-align: left; vertical-align: top }
th { border-bottom: 1px solid #d0d7de; font-weight: 600 } td.number { text-align: right; font-variant-numeric: tabular-nums }
table.heat td { padding: 0; width: 2.1em; height: 1.7em; text-align: center; vertical-align: middle; font-size: .8em }
table.heat th { border: 0; font-weight: 400; font-size: .85em; padding: .1em .5em; text-align: right }
table.heat th.top { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; padding: .3em 0 }
.grid { display: flex; flex-wrap: wrap; gap: 14px; align-items: flex-start } figure { margin: 0 }
figcaption { font-size: .85em; color: #57606a; max-width: 22em } .right { outline: 3px solid #1a7f37 }
img.small { image-rendering: pixelated } img { max-width: 100% }
"""


def text(value: object) -> str:
    """Any value as text, with the special characters of HTML escaped."""
    return html.escape(str(value))


def paragraph(*parts: str, note: bool = False) -> str:
    """A paragraph of HTML.

    Args:
        parts: pieces of HTML.
        note: whether it is a note, which is small and grey.
    """
    return f"<p{' class=note' if note else ''}>{''.join(parts)}</p>"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table: numbers on the right, NaN blank, other values escaped and on the left; an empty head is left out."""
    top = f"<tr>{''.join(f'<th>{text(name)}</th>' for name in head)}</tr>" if head else ""
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table>{top}{body}</table>"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"<td class=number>{'' if math.isnan(value) else f'{value:.4g}'}</td>"
    return f"<td class=number>{value:,}</td>" if isinstance(value, int) else f"<td>{text(value)}</td>"


def heat(
    values: np.ndarray, rows: Sequence[str], columns: Sequence[str], cells: Sequence[Sequence[object]] = ()
) -> str:
    """A matrix in shades of blue, from white for 0 to dark for 1. Unlike a drawn matrix, it shows text of any script.

    Args:
        values: [rows, columns] in 0..1; values outside are clipped.
        rows: names at the left of the rows.
        columns: names above the columns.
        cells: contents of the cells; () = empty cells.
    """
    top = "".join(f"<th class=top>{text(name)}</th>" for name in columns)
    lines = []
    for a, name in enumerate(rows):
        shades = [min(max(float(value), 0.0), 1.0) for value in values[a]]
        inner = [
            f'<td style="background: rgba(9, 65, 130, {shade:.2f}); color: {"#fff" if shade > 0.5 else "#1b1f24"}">'
            f"{text(cells[a][b]) if len(cells) else ''}</td>"
            for b, shade in enumerate(shades)
        ]
        lines.append(f"<tr><th>{text(name)}</th>{''.join(inner)}</tr>")
    return f"<table class=heat><tr><th></th>{top}</tr>{''.join(lines)}</table>"


def shaded(name: str, words: Iterable[tuple[str, float]]) -> str:
    """A name, and words on red: (word, shade in 0..1), the larger the shade, the darker the red."""
    spans = (f'<span style="background: rgba(214, 60, 40, {shade:.2f})">{text(word)}</span>' for word, shade in words)
    return paragraph(f"<b>{text(name)}</b> {' '.join(spans)}")


def legend(colors: Sequence[tuple[str, str]]) -> str:
    """The legend of a chart, from its pairs (name, CSS colour)."""
    dots = (f'<span style="color: {color}">●</span>&nbsp;{text(name)}' for name, color in colors)
    return paragraph("&ensp; ".join(dots))


def chart(figure: Figure) -> str:
    """A matplotlib figure, as SVG."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _img("image/svg+xml", buffer.getvalue().encode(), "")


def picture(image: np.ndarray, caption: str = "", *, side: int = 112, right: bool = False) -> str:
    """An image with a caption; a small image is enlarged, with each pixel as a square.

    Args:
        image: [H, W, 1 or 3] uint8.
        caption: text below the image; "" = none.
        side: minimum height on the screen, in pixels.
        right: whether to frame the image as the right answer.
    """
    buffer = io.BytesIO()
    write_png(buffer, image)
    scale = max(1, -(-side // image.shape[0]))
    style = f'class="small{" right" if right else ""}" width={image.shape[1] * scale}'
    under = f"<figcaption>{text(caption)}</figcaption>" if caption else ""
    return f"<figure>{_img('image/png', buffer.getvalue(), style)}{under}</figure>"


def _img(kind: str, data: bytes, style: str) -> str:
    return f'<img {style} alt="" src="data:{kind};base64,{base64.b64encode(data).decode()}">'


def grid(figures: Iterable[str]) -> str:
    """Figures side by side, in as many rows as needed."""
    return f"<div class=grid>{''.join(figures)}</div>"


def section(title: str, *parts: str) -> str:
    """A section of the page, with a title."""
    return f"<h2>{text(title)}</h2>\n{''.join(parts)}\n"


def document(title: str, *parts: str) -> str:
    """The whole page."""
    head = f'<meta charset="utf-8"><title>{text(title)}</title><style>{STYLE}</style>'
    return f"<!doctype html><html lang=en><head>{head}</head><body>\n{''.join(parts)}</body></html>\n"
