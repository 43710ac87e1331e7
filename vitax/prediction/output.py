"""Files for predictions that are images."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vitax.data.decode import write_png
from vitax.errors import UserError


def output_folder(run_folder: Path, name: str, out: str = "") -> Path:
    """The folder ``out`` or, if that is empty, RUN/name; it is created if it does not exist.

    Raises:
        UserError: the folder cannot be created.
    """
    folder = Path(out).expanduser() if out else run_folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder --out={folder} cannot be created: {error}") from error
    return folder


def output_path(folder: Path, file: str) -> Path:
    """folder/NAME.png for the result of a file; if that exists, it is left alone, and the new name is numbered."""
    stem, path, number = Path(file).stem, folder / f"{Path(file).stem}.png", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}.png", number + 1
    return path


def written(rows: Iterable[dict[str, Any]], run_folder: Path, out: str = "") -> Iterator[dict[str, Any]]:
    """The rows, with each "image" written to a PNG and replaced by its path as "output".

    Args:
        rows: predictions.
        run_folder: folder of the run.
        out: folder of the files; "" = RUN/predictions.

    Raises:
        UserError: the folder cannot be created.
    """
    folder = output_folder(run_folder, "predictions", out)
    for row in rows:
        if "image" in row:
            output = output_path(folder, row["file"])
            write_png(output, row["image"])
            row = {"file": row["file"], "output": str(output), **{k: v for k, v in row.items() if k != "image"}}
        yield row
