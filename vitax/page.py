"""HTML of a report: one file that needs nothing else, neither scripts nor a network."""

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
    """Any value as text in which HTML means nothing."""
    return html.escape(str(value))


def paragraph(*parts: str, note: bool = False) -> str:
    """A paragraph of HTML, small and grey if it is a note."""
    return f"<p{' class=note' if note else ''}>{''.join(parts)}</p>"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Numbers to the right, NaN blank, everything else escaped and to the left; no head if it is empty."""
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
    """A matrix as shades of blue, 0 white, 1 dark: text of any script, unlike a drawn one.

    Args:
        values: [rows, columns] in 0..1; what lies outside is clipped.
        rows, columns: what stands beside and above.
        cells: what stands in the cells; () = nothing.
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


def shaded(name: str, words: Sequence[str], shades: np.ndarray) -> str:
    """A name, and words on red: the larger the shade in 0..1, the darker."""
    spans = (
        f'<span style="background: rgba(214, 60, 40, {shade:.2f})">{text(word)}</span>'
        for word, shade in zip(words, shades, strict=True)
    )
    return paragraph(f"<b>{text(name)}</b> {' '.join(spans)}")


def legend(colors: Sequence[tuple[str, str]]) -> str:
    """(name, CSS colour) of what a chart shows."""
    dots = (f'<span style="color: {color}">●</span>&nbsp;{text(name)}' for name, color in colors)
    return paragraph("&ensp; ".join(dots))


def chart(figure: Figure) -> str:
    """A matplotlib figure, as SVG."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _img("image/svg+xml", buffer.getvalue().encode(), "")


def picture(image: np.ndarray, caption: str = "", *, side: int = 112, right: bool = False) -> str:
    """[H, W, 1 or 3] uint8; small ones are shown enlarged, each pixel as a square.

    Args:
        side: pixels of the screen that the height takes, at least.
        right: framed, as the right answer.
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
    """Figures side by side, in as many rows as it takes."""
    return f"<div class=grid>{''.join(figures)}</div>"


def section(title: str, *parts: str) -> str:
    """A part of the page, under a title."""
    return f"<h2>{text(title)}</h2>\n{''.join(parts)}\n"


def document(title: str, *parts: str) -> str:
    """The whole page."""
    head = f'<meta charset="utf-8"><title>{text(title)}</title><style>{STYLE}</style>'
    return f"<!doctype html><html lang=en><head>{head}</head><body>\n{''.join(parts)}</body></html>\n"
