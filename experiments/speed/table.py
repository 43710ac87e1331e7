"""Writes the table and the plot of README.md from the newest row of each comparison in results.jsonl.

python experiments/speed/table.py
"""

import json
from pathlib import Path

from matplotlib.figure import Figure

HERE = Path(__file__).parent
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"
KEY = ("mode", "case", "peer", "batch", "dtype", "machine")


def main() -> None:
    rows: dict[tuple, dict] = {}
    for line in (HERE / "results.jsonl").read_text().splitlines():
        row = json.loads(line)
        rows[tuple(row[name] for name in KEY)] = row
    ordered = sorted(rows.values(), key=lambda row: [str(row[name]) for name in KEY])
    lines = [
        "| mode | what | against | batch | ours /s | theirs /s | ratio (lowest to highest round) | outputs differ by |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in ordered:
        differ = "" if row["error"] is None else f"{row['error']:.0e}"
        if row["agrees"] is False:
            differ += ", does not count"
        lines.append(
            f"| {row['mode']} | {row['case']} | {row['peer']} | {row['batch']} | {row['ours_per_second']:.2f} | "
            f"{row['theirs_per_second']:.2f} | **{row['ratio']:.2f}** ({row['ratio_low']:.2f} to {row['ratio_high']:.2f}) | {differ} |"
        )
    page = HERE / "README.md"
    text = page.read_text()
    before, rest = text.split(BEGIN)
    page.write_text(before + BEGIN + "\n".join(lines) + "\n" + END + rest.split(END)[1])
    draw([row for row in ordered if row["agrees"] is not False])


def draw(rows: list[dict]) -> None:
    figure = Figure(figsize=(9, 0.32 * len(rows) + 1.2), dpi=120, layout="constrained")
    axes = figure.subplots()
    names = [f"{row['case']} {row['mode']}, against {row['peer']}" for row in rows][::-1]
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
