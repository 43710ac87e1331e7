"""Writes the table and the plot of README.md from the newest row of each comparison in results.jsonl.

python experiments/speed/table.py
"""

import json
from pathlib import Path

from matplotlib.figure import Figure

HERE = Path(__file__).parent
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"
KEY = ("mode", "case", "peer", "batch", "dtype", "machine", "isa")
HEADER = (
    "mode", "what", "against", "batch", "processor", "date", "ours /s", "theirs /s",
    "ratio (lowest to highest round)", "medians of all sessions", "outputs differ by",
)  # fmt: skip


def main() -> None:
    sessions: dict[tuple, list[dict]] = {}
    for line in (HERE / "results.jsonl").read_text().splitlines():
        row = json.loads(line)
        sessions.setdefault(tuple(row[name] for name in KEY), []).append(row)
    ordered = [sessions[key] for key in sorted(sessions, key=lambda key: [str(x) for x in key])]
    lines = [f"| {' | '.join(HEADER)} |", "|---" * len(HEADER) + "|", *(line_of(rows) for rows in ordered)]
    page = HERE / "README.md"
    before, rest = page.read_text().split(BEGIN)
    page.write_text(before + BEGIN + "\n".join(lines) + "\n" + END + rest.split(END)[1])
    draw([rows[-1] for rows in ordered if rows[-1]["agrees"] is not False])


def line_of(rows: list[dict]) -> str:
    """A line of the table: the newest of the sessions of one comparison, and the range of their ratios."""
    row, ratios = rows[-1], [row["ratio"] for row in rows]
    differ = "" if row["error"] is None else f"{row['error']:.0e}"
    if row["agrees"] is False:
        differ += ", does not count"
    cells = (
        row["mode"],
        row["case"],
        row["peer"],
        row["batch"],
        kind(row),
        row["date"],
        f"{row['ours_per_second']:.2f}",
        f"{row['theirs_per_second']:.2f}",
        f"**{row['ratio']:.2f}** ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})",
        f"{min(ratios):.2f} to {max(ratios):.2f} ({len(rows)})" if len(rows) > 1 else "1 session",
        differ,
    )
    return f"| {' | '.join(map(str, cells))} |"


def kind(row: dict) -> str:
    """Processor and the width of its vectors, "AMD EPYC, AVX-512"."""
    maker = "AMD EPYC" if "EPYC" in row["machine"] else "Intel Xeon" if "Xeon" in row["machine"] else row["machine"]
    return f"{maker}, {row['isa']}"


def draw(rows: list[dict]) -> None:
    figure = Figure(figsize=(9, 0.32 * len(rows) + 1.2), dpi=120, layout="constrained")
    axes = figure.subplots()
    names = [f"{row['case']} {row['mode']}, against {row['peer']}; {kind(row)}" for row in rows][::-1]
    ratios = [row["ratio"] for row in rows][::-1]
    spread = [
        [r - row["ratio_low"] for r, row in zip(ratios, rows[::-1], strict=True)],
        [row["ratio_high"] - r for r, row in zip(ratios, rows[::-1], strict=True)],
    ]
    colours = ["tab:blue" if r >= 1 else "tab:orange" for r in ratios]
    axes.barh(names, ratios, xerr=spread, color=colours, ecolor="grey")
    axes.axvline(1, color="black", linewidth=1)
    axes.set(xlabel="our speed over theirs", title="float32, two CPU cores")
    axes.margins(y=0.01)
    figure.savefig(HERE / "ratios.png")


if __name__ == "__main__":
    main()
