"""Explanations of segmentations and detections: what in an image speaks for a class in a region, or for an object."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vitax import augment
from vitax.data.drawing import boxed, viewable
from vitax.errors import UserError
from vitax.evals.detection import in_pixels
from vitax.explain.gradients import gradient_x_input, integrated_gradients
from vitax.explain.heatmap import draw
from vitax.explanation.images import ImageExplanation
from vitax.explanation.scores import Explained, class_number, image_spec, in_float32
from vitax.prediction import TrainedRun
from vitax.prediction.images import ranked, read_images
from vitax.prediction.output import output_folder, output_path

METHODS = {"integrated_gradients": integrated_gradients, "gradient_x_input": gradient_x_input}
ATTENTION = "attention"  # of detectors only
WHOLE = (0.0, 0.0, 1.0, 1.0)
Values = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array | None]]


class Chosen(NamedTuple):
    """What is explained in an image.

    Attributes:
        label: number of the class.
        probabilities: [K] of all classes, at the pixels or for the object.
        weights: with the shape of the values that are explained; their weighted sum is the score.
        box: [4] left, top, right, bottom of the object in shares of the picture; None = there is none.
    """

    label: int
    probabilities: np.ndarray
    weights: np.ndarray
    box: np.ndarray | None = None

    def explained(self, names: Sequence[str], top: int) -> Explained:
        """The same in words, with the ``top`` most probable classes."""
        listed = ranked(self.probabilities, names, top)["top"]
        return Explained(self.label, names[self.label], float(self.probabilities[self.label]), top=tuple(listed))


def values_of(run: TrainedRun) -> Values:
    """The values that are explained, as a function of an image [1, H, W, C] and its size [1, 2].

    They are the logits [H, W, K] of a segmenter; or the log-probabilities [Q, K + 1] of a detector, and its boxes [Q, 4].
    """

    def segments(image: jax.Array, size: jax.Array) -> tuple[jax.Array, None]:
        return run.model.apply(run.variables, image)[0], None

    def objects(image: jax.Array, size: jax.Array) -> tuple[jax.Array, jax.Array]:
        out = run.model.apply(run.variables, image, size)
        return jax.nn.log_softmax(out.logits[0]), out.boxes[0]

    return objects if run.task_name == "detection" else segments


def pixels_of_class(values: np.ndarray, region: Sequence[float], label: str, names: Sequence[str]) -> Chosen:
    """The pixels of a region that are given a class; all of its pixels if none is.

    Args:
        values: [H, W, K] logits.
        region: left, top, right, bottom in shares of the image.
        label: name or number of the class; "" = that of most pixels.
        names: names of the classes.

    Raises:
        UserError: the region contains no pixel, or there is no such class.
    """
    height, width, count = values.shape
    rows, columns = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    inside = ((rows >= region[1]) & (rows < region[3]))[:, None] & ((columns >= region[0]) & (columns < region[2]))
    if not inside.any():
        raise UserError(f"--region={','.join(map(str, region))} contains no pixel of the image")
    classes = values.argmax(-1)
    shares = np.bincount(classes[inside], minlength=count) / inside.sum()
    number = class_number(label, names, shares)
    where = inside & (classes == number)
    where = where if where.any() else inside
    weights = np.zeros(values.shape, np.float32)
    weights[where, number] = 1 / where.sum()
    probabilities = np.asarray(jax.nn.softmax(jnp.asarray(values[where]))).mean(axis=0)
    return Chosen(number, probabilities, weights)


def best_object(
    values: np.ndarray, boxes: np.ndarray, region: Sequence[float], label: str, names: Sequence[str]
) -> Chosen:
    """The most probable object, of a class or of any, whose centre lies in a region.

    Args:
        values: [Q, K + 1] log-probabilities.
        boxes: [Q, 4] centre (x, y), width and height in shares of the picture.
        region: left, top, right, bottom in shares of the picture.
        label: name or number of the class; "" = any.
        names: names of the classes.

    Raises:
        UserError: the region contains no box, or there is no such class.
    """
    x, y = boxes[:, 0], boxes[:, 1]
    inside = (x >= region[0]) & (x < region[2]) & (y >= region[1]) & (y < region[3])
    if not inside.any():
        raise UserError(f"--region={','.join(map(str, region))} contains the centre of no predicted box")
    probabilities = np.where(inside[:, None], np.exp(values[:, :-1]), 0)
    number = class_number(label, names, probabilities.max(axis=0))
    query = int(probabilities[:, number].argmax())
    weights = np.zeros(values.shape, np.float32)
    weights[query, number] = 1
    (corners,) = in_pixels(boxes[query : query + 1], np.ones(2))
    return Chosen(number, np.exp(values[query, :-1]), weights, corners)


def explained_dense(
    run: TrainedRun,
    images: Iterable[Any],
    *,
    method: Sequence[str] = (),
    label: str = "",
    region: str = "",
    top: int = 5,
) -> Iterator[tuple[str, ImageExplanation | Exception]]:
    """(name, explanation), or (name, error), for each image, see `vitax.prediction.images.read_images`.

    A segmenter sees the middle of an image, as the means over its test do.

    Args:
        run: a trained run of segmentation or detection.
        images: see `vitax.prediction.images.read_images`.
        method: keys of METHODS, for a detector also "attention", see `attended`, or "all"; () = integrated_gradients.
        label: name or number of the class to explain; "" = that of most pixels, or of the surest object.
        region: left, top, right and bottom in shares of the picture, with commas between them: of a segmenter, the pixels that
            are explained; of a detector, where the centre of the object lies. "" = everywhere.
        top: number of classes to list.

    Raises:
        UserError: a method or the class does not exist, or the region is none.
    """
    run, spec, place = in_float32(run), image_spec(run), _region(region)
    names, values = run.reader.record["class_names"], values_of(run)
    outputs, explain = jax.jit(values), _explainers(method, run, values)
    rng = np.random.default_rng(0)  # test transforms draw no random numbers
    for file, example in read_images(images, run):
        if isinstance(example, Exception):
            yield file, example
            continue
        shown = run.reader.transform(example, rng)
        pixels = shown["image"]
        size = np.asarray(shown.get("size", pixels.shape[:2]))
        image = augment.normalize(jnp.asarray(pixels)[None], spec.mean, spec.std)
        found, boxes = jax.device_get(outputs(image, size[None]))
        where = (found, place, label, names)
        chosen = pixels_of_class(*where) if boxes is None else best_object(found, boxes, *where[1:])
        maps = {name: np.asarray(function(image, size[None], chosen.weights)) for name, function in explain.items()}
        height, width = size
        picture = viewable(pixels[:height, :width])
        if chosen.box is not None:
            box = chosen.box * np.array([width, height, width, height])
            picture = boxed(picture, box[None], [chosen.label], [names[chosen.label]])
        yield (
            file,
            ImageExplanation(
                image=viewable(pixels),
                photograph=picture,
                what=chosen.explained(names, top),
                maps={name: heat[:height, :width] for name, heat in maps.items()},
                kept=[],
                heads=None,
            ),
        )


def _explainers(method: Sequence[str], run: TrainedRun, values: Values) -> dict[str, Callable[..., jax.Array]]:
    """The functions (image, size, weights) -> heat map [H, W] of the methods; UserError for one that is unknown."""
    known = [*METHODS, *([ATTENTION] if run.task_name == "detection" else [])]
    wanted = known if "all" in method else list(method) or ["integrated_gradients"]
    if unknown := [name for name in wanted if name not in known]:
        kind = "boxes" if ATTENTION in known else "masks"
        raise UserError(f"--method={unknown[0]} has no meaning for {kind}; choose {' or '.join(known)}")
    score = lambda size, weights: lambda image: (values(image, size)[0] * weights).sum()

    def explainer(name: str) -> Callable[..., jax.Array]:
        if name == ATTENTION:
            return jax.jit(lambda image, size, weights: attended(run, image, size, weights.sum(axis=1).argmax()))
        return jax.jit(lambda image, size, weights: METHODS[name](score(size, weights), image)[0].sum(-1))

    return {name: explainer(name) for name in wanted}


def attended(run: TrainedRun, image: jax.Array, size: jax.Array, query: jax.Array) -> jax.Array:
    """Where a query looks: its attention to the picture in the last layer of the decoder, [H, W], the mean over the heads.

    The weights add up to 1 at the places of the backbone's last map, and are enlarged linearly (Carion et al. 2020,
    arXiv:2005.12872, figure 6).

    Args:
        run: a trained run of detection.
        image: [1, H, W, C], normalised.
        size: [1, 2] height and width of the picture in it.
        query: [] int, number of the query.
    """
    captured = lambda module, method: method == "features"
    _, state = run.model.apply(run.variables, image, size, capture_intermediates=captured, mutable=["intermediates"])
    (maps,), head = state["intermediates"]["features"], state["intermediates"]["detection_head"]
    (weights,) = head[f"decoder{run.model.decoder_depth - 1}"]["cross_attention"]["weights"]  # [1, A, Q, h * w]
    places = weights[0, :, query].mean(axis=0).reshape(maps[max(maps)].shape[1:3])
    return jax.image.resize(places, image.shape[1:3], "linear")


def _region(text: str) -> tuple[float, ...]:
    """The region that a text names; UserError if the text is not a region."""
    try:
        sides = tuple(float(part) for part in text.split(",")) if text else WHOLE
    except ValueError:
        sides = ()
    if len(sides) != 4 or not (0 <= sides[0] < sides[2] <= 1 and 0 <= sides[1] < sides[3] <= 1):
        raise UserError(
            f"--region={text} is not left,top,right,bottom in shares of the picture, such as 0.2,0.3,0.6,0.8"
        )
    return sides


def explain_dense(run: TrainedRun, images: Iterable[Any], *, out: str = "", **options: Any) -> Iterator[dict[str, Any]]:
    """Explanations written to files: {"file", "class", "probability", "top", "output"} for each image.

    "output" is the file of a figure with the image, the box of an object in it, under each map.

    Args:
        run: a trained run of segmentation or detection.
        images: see `vitax.prediction.images.read_images`.
        out: folder of the files; "" = RUN/explanations.
        options: see `explained_dense`.

    Raises:
        UserError: as in `explained_dense`.
    """
    folder = output_folder(run.path, "explanations", out)
    for file, result in explained_dense(run, images, **options):
        if isinstance(result, Exception):
            yield {"file": file, "error": str(result)}
            continue
        output = str(output_path(folder, file))
        draw(output, result.photograph, result.maps, result.title)
        yield {"file": file, **result.what.row, "output": output}
