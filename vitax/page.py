"""HTML of a report: one file that needs neither other files nor scripts nor a network."""

import base64
import html
import io
import math
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.figure import Figure

from vitax.data.drawing import write_png

STYLE = """
:root { --ink: #1b1f24; --soft: #57606a; --line: #d0d7de; --ground: #fff; --box: #f6f8fa; --good: #1a7f37 }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); max-width: 1200px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.5em; margin: 0; overflow-wrap: anywhere } h2 { font-size: 1.15em; margin: 1.6em 0 .4em; border-bottom: 1px solid var(--line) }
p { margin: .3em 0 } .note { color: var(--soft); font-size: .92em } code { font-size: .9em; background: var(--box) }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 33rem), 1fr)); gap: 0 2.5rem;
  grid-auto-flow: dense }
section { min-width: 0 } section.wide { grid-column: 1 / -1 } .scroll { overflow-x: auto }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: 10px; margin: 1em 0 }
.tile { background: var(--box); border-radius: 6px; padding: .5em .8em } .tile b { display: block; font-size: 1.35em; overflow-wrap: anywhere }
table { border-collapse: collapse; margin: .5em 0 } td, th { padding: .15em .8em .15em 0; text-align: left; vertical-align: top }
th { border-bottom: 1px solid var(--line); font-weight: 600 } td.number { text-align: right; font-variant-numeric: tabular-nums }
table.heat td { padding: 0; width: 2.1em; height: 1.7em; text-align: center; vertical-align: middle; font-size: .8em }
table.heat th { border: 0; font-weight: 400; font-size: .85em; padding: .1em .5em; text-align: right }
table.heat th.top { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; padding: .3em 0 }
.grid { display: flex; flex-wrap: wrap; gap: 14px; align-items: flex-start } figure { margin: 0; max-width: 100% }
figcaption { font-size: .85em; color: var(--soft); width: 9em; min-width: 100%; overflow-wrap: anywhere } .right { outline: 3px solid var(--good) }
img { max-width: 100%; height: auto } img.small { image-rendering: pixelated } summary { cursor: pointer; color: var(--soft) }
@media (prefers-color-scheme: dark) {
:root { --ink: #e6edf3; --soft: #9aa4af; --line: #30363d; --ground: #0d1117; --box: #161b22; --good: #3fb950 }
img.chart { filter: invert(.93) hue-rotate(180deg) } table.heat td { background-color: #e6edf3 }
}
"""
# Okabe and Ito's colours, which readers with any colour vision tell apart, the most visible on white first.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
# Markers of matplotlib, and the characters that look like them: with these, more classes than colours are told apart.
MARKERS = (("o", "●"), ("^", "▲"), ("s", "■"), ("D", "◆"), ("v", "▼"))


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
    return f"<div class=scroll><table>{top}{body}</table></div>"


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
            f'<td style="background-image: linear-gradient({_blue(shade)}, {_blue(shade)}); color: {_on_blue(shade)}">'
            f"{text(cells[a][b]) if len(cells) else ''}</td>"
            for b, shade in enumerate(shades)
        ]
        lines.append(f"<tr><th>{text(name)}</th>{''.join(inner)}</tr>")
    return f"<div class=scroll><table class=heat><tr><th></th>{top}</tr>{''.join(lines)}</table></div>"


def shaded(name: str, words: Iterable[tuple[str, float]]) -> str:
    """A name, and words on red: (word, shade in 0..1), the larger the shade, the darker the red."""
    spans = (f'<span style="background: rgba(214, 60, 40, {shade:.2f})">{text(word)}</span>' for word, shade in words)
    return paragraph(f"<b>{text(name)}</b> {' '.join(spans)}")


def _blue(shade: float) -> str:
    return f"rgba(9, 65, 130, {shade:.2f})"


def _on_blue(shade: float) -> str:
    return "#fff" if shade > 0.5 else "#1b1f24"


def legend(entries: Sequence[tuple[str, str, str]]) -> str:
    """The legend of a chart, from its entries (name, CSS colour, character)."""
    dots = (f'<span style="color: {color}">{sign}</span>&nbsp;{text(name)}' for name, color, sign in entries)
    return paragraph("&ensp; ".join(dots))


def tiles(entries: Iterable[tuple[str, str]]) -> str:
    """Headline values in boxes, from pairs (value, label)."""
    boxes = (f"<div class=tile><b>{text(value)}</b>{text(label)}</div>" for value, label in entries)
    return f"<div class=tiles>{''.join(boxes)}</div>"


def chart(figure: Figure, description: str) -> str:
    """A matplotlib figure as SVG, with a description for readers who do not see it."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    return _img("image/svg+xml", buffer.getvalue().encode(), "class=chart", description)


def picture(
    image: np.ndarray, caption: str = "", *, side: int = 112, right: bool = False, description: str = ""
) -> str:
    """An image with a caption; a small image is enlarged, with each pixel as a square.

    Args:
        image: [H, W, 1 or 3] uint8.
        caption: text below the image; "" = none.
        side: minimum height on the screen, in pixels.
        right: whether to frame the image as the right answer.
        description: for readers who do not see it; "" = the caption.
    """
    buffer = io.BytesIO()
    write_png(buffer, image)
    scale = max(1, -(-side // image.shape[0]))
    style = f'class="small{" right" if right else ""}" width={image.shape[1] * scale}'
    under = f"<figcaption>{text(caption)}</figcaption>" if caption else ""
    return f"<figure>{_img('image/png', buffer.getvalue(), style, description or caption)}{under}</figure>"


def _img(kind: str, data: bytes, style: str, description: str) -> str:
    content = base64.b64encode(data).decode()
    return f'<img {style} alt="{text(description)}" src="data:{kind};base64,{content}">'


def grid(figures: Iterable[str]) -> str:
    """Figures side by side, in as many rows as needed."""
    return f"<div class=grid>{''.join(figures)}</div>"


def folded(summary: str, *parts: str) -> str:
    """Parts that are shown when the reader asks for them."""
    return f"<details><summary>{text(summary)}</summary>{''.join(parts)}</details>"


def section(title: str, *parts: str, wide: bool = False) -> str:
    """A section of the page, with a title; a wide one takes all columns."""
    return f"<section{' class=wide' if wide else ''}><h2>{text(title)}</h2>\n{''.join(parts)}</section>\n"


def document(title: str, *parts: str) -> str:
    """The whole page; its sections stand in two columns where the window is wide enough."""
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{text(title)}</title><style>{STYLE}</style>'
    )
    top = [part for part in parts if not part.startswith("<section")]
    columns = [part for part in parts if part.startswith("<section")]
    body = f"{''.join(top)}<div class=columns>{''.join(columns)}</div>"
    whole = f"<!doctype html><html lang=en><head>{head}</head><body>\n{body}</body></html>\n"
    return whole.encode(errors="backslashreplace").decode()  # names of files that are no text
