"""Files for predictions that are images."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from vitax.data.drawing import write_png
from vitax.data.mask_files import write_mask
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


def output_path(folder: Path, file: str, suffix: str = "") -> Path:
    """folder/NAME{suffix}.png for the result of a file; if that exists, it is left alone, and the new name is numbered."""
    stem = f"{Path(file).stem}{suffix}"
    path, number = folder / f"{stem}.png", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}.png", number + 1
    return path


# {picture in a row: (end of the name of its file, name of the path in the row, function that writes it)}
PICTURES: dict[str, tuple[str, str, Callable[[Path, Any], None]]] = {
    "image": ("", "output", write_png),
    "mask": ("", "output", write_mask),
    "boxed": ("-boxes", "output", write_png),
    "overlay": ("-overlay", "overlay", write_png),
}


def written(rows: Iterable[dict[str, Any]], run_folder: Path, out: str = "") -> Iterator[dict[str, Any]]:
    """The rows, with each of their `PICTURES` written to a PNG and replaced by its path.

    Args:
        rows: predictions.
        run_folder: folder of the run.
        out: folder of the files; "" = RUN/predictions.

    Raises:
        UserError: the folder cannot be created.
    """
    folder = output_folder(run_folder, "predictions", out)
    for row in rows:
        paths = {}
        for key in PICTURES.keys() & row.keys():
            suffix, name, write = PICTURES[key]
            path = output_path(folder, row["file"], suffix)
            write(path, row[key])
            paths[name] = str(path)
        yield {
            "file": row["file"],
            **dict(sorted(paths.items())),
            **{k: v for k, v in row.items() if k not in PICTURES},
        }
