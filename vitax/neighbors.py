"""The nearest neighbours of images or texts among features that ``vitax.embed`` has written.

    python -m vitax.neighbors features.npz QUERY.jpg...              one JSON object for each query
    python -m vitax.neighbors features.npz QUERY.jpg --html=near.html      ... and a page of thumbnails
    python -m vitax.neighbors features.npz --picture=map.png         all of them in two dimensions (t-SNE)

A query is a file that the features contain, or any other image (a .txt file: its lines), which the same model embeds.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from vitax import rundir
from vitax.backend import start_jax
from vitax.cli import Arguments, Command, Flag
from vitax.embed import embedded, opened
from vitax.errors import UserError
from vitax.monitoring import log

THUMBNAIL = 160  # pixels of the longer side
FLAGS = (
    Flag("count", 10, "number of neighbours of each query"),
    Flag("html", "", "file for a page of thumbnails"),
    Flag("picture", "", "file for a picture of all features in two dimensions: .png or .svg"),
)


def run(arguments: Arguments) -> None:
    """Prints the neighbours, and writes the page and the picture.

    Raises:
        UserError: no features are named, they cannot be read, or a query cannot be embedded.
    """
    flags = arguments.flags
    if not arguments.positional:
        raise UserError("name the features: python -m vitax.neighbors features.npz QUERY...")
    if flags["count"] < 1:
        raise UserError(f"--count={flags['count']} must be at least 1")
    log.start_logging()
    table, *queries = arguments.positional
    features, files, about = read_features(Path(table))
    if not queries and not flags["picture"]:
        raise UserError("name a query, or --picture=FILE.png")
    found = nearest(features, files, about, queries, flags["count"]) if queries else []
    for row in found:
        print(json.dumps(row, ensure_ascii=False))
    if flags["html"]:
        _write(Path(flags["html"]), _page(found))
    if flags["picture"]:
        _draw(Path(flags["picture"]), features)


def read_features(path: Path) -> tuple[np.ndarray, list[str], dict[str, Any]]:
    """Features [n, D], the names of their files, and what made them, from an .npz file of ``vitax.embed``.

    Raises:
        UserError: the file cannot be read, or is another's.
    """
    if path.suffix.lower() != ".npz":
        raise UserError(f"{path} is not an .npz file: vitax.embed writes one with --out=features.npz")
    try:
        with np.load(path, allow_pickle=False) as file:
            return file["features"], file["files"].tolist(), json.loads(str(file["about"]))
    except Exception as error:  # NumPy and zipfile raise many kinds
        raise UserError(f"{path} holds no features of vitax.embed: {type(error).__name__}: {error}") from error


def nearest(
    features: np.ndarray, files: list[str], about: dict[str, Any], queries: list[str], count: int
) -> list[dict[str, Any]]:
    """{"query", "neighbors": [{"file", "cosine"}, ...]} for each query; a query is not its own neighbour.

    Args:
        features: [n, D].
        files: names of the n files.
        about: what made the features.
        queries: names among ``files``, or of other files.
        count: number of neighbours.

    Raises:
        UserError: a query cannot be embedded, or its features have another length.
    """
    from sklearn.neighbors import NearestNeighbors  # takes a second to import

    place = {name: i for i, name in enumerate(files)}
    other = [query for query in queries if query not in place]
    names, rows = [query for query in queries if query in place], [features[place[q]] for q in queries if q in place]
    if other:
        start_jax()
        trained = opened(about["source"], checkpoint=about["checkpoint"], length=about["length"])
        more, stacked, broken = embedded(trained, other, about)
        if broken or stacked.shape[1] != features.shape[1]:
            raise UserError(f"{', '.join(other)}: no features of length {features.shape[1]}")
        names, rows = names + more, rows + list(stacked)
    search = NearestNeighbors(n_neighbors=min(count + 1, len(files)), metric="cosine", algorithm="brute").fit(features)
    distances, indices = search.kneighbors(np.stack(rows))
    found = []
    for name, near, far in zip(names, indices, distances, strict=True):
        listed = [(files[i], round(1 - float(d), 6)) for i, d in zip(near, far, strict=True) if files[i] != name]
        found.append({"query": name, "neighbors": [{"file": file, "cosine": c} for file, c in listed[:count]]})
    return found


def _page(found: list[dict[str, Any]]) -> str:
    """The neighbours as thumbnails; of a file that is no image, its name."""
    from vitax import page
    from vitax.data.crops import resize
    from vitax.data.decode import decode_image

    def shown(file: str, caption: str) -> str:
        try:
            image = decode_image(Path(file).read_bytes())
            shrink = min(1.0, THUMBNAIL / max(image.shape[:2]))
            size = tuple(max(1, round(side * shrink)) for side in image.shape[:2])
            return page.picture(resize(image, size) if shrink < 1 else image, caption)
        except (ValueError, OSError):
            return page.paragraph(page.text(f"{file} ({caption})"))

    sections = [
        page.section(
            row["query"],
            page.grid(
                [shown(row["query"], "query")]
                + [shown(near["file"], f"{near['cosine']:.3f} {Path(near['file']).name}") for near in row["neighbors"]]
            ),
            wide=True,
        )
        for row in found
    ]
    return page.document("Nearest neighbours", "<h1>Nearest neighbours</h1>", *sections)


def _draw(path: Path, features: np.ndarray) -> None:
    """All features in two dimensions, as dots of one colour."""
    from matplotlib.figure import Figure

    from vitax.report.exhibits import in_two_dimensions

    if len(features) < 5:
        raise UserError(f"--picture needs at least 5 features, and there are {len(features)}")
    places = in_two_dimensions(features)
    figure = Figure(figsize=(6.4, 6.4), layout="constrained")
    panel = figure.subplots()
    panel.scatter(places[:, 0], places[:, 1], s=12, linewidths=0)
    panel.set_xticks([])
    panel.set_yticks([])
    panel.set_title(f"t-SNE of {len(features):,} features")
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be written: {error}") from error
    print(path)


def _write(path: Path, content: str) -> None:
    try:
        rundir.write_text(path, content)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error}") from error
    print(path)


COMMAND = Command(__doc__, FLAGS, run, config="none", positional=True)

if __name__ == "__main__":
    COMMAND.main()
