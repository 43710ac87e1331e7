"""A trained run as a function of arrays: the program that is exported, its inputs and outputs, and examples to check it.

Attention has its plain form, whatever device exports, because the form for a device is not the best one for others.

Normalisation is inside: images enter as uint8, or as values on the scale 0..255, at the size of the model. Decoding and resizing stay outside, as
`about` describes them; both depend on the file, not on the model.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import vitax
from vitax import augment, reading
from vitax.build import build, build_task
from vitax.errors import UserError
from vitax.nn.fused import plain_forms
from vitax.prediction import TrainedRun
from vitax.prediction.images import image_files, read_images
from vitax.specs import BoxSpec, ImageSpec, MaskSpec, inputs_of
from vitax.tasks import Variables

CHECKED = 10  # examples with which an export is compared before it is called done
PROBABILITIES = {"probabilities": "probabilities"}
# {objective: (inputs, {name of the output: its name in `Task.predict`})}
SIGNATURES: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "classification": (("image",), PROBABILITIES),
    "token_pruning": (("image",), PROBABILITIES),
    "multilabel": (("image",), PROBABILITIES),
    "regression": (("image",), {"values": "values"}),
    "segmentation": (("image",), PROBABILITIES),
    "detection": (("image", "size"), {"scores": "scores", "classes": "classes", "boxes": "boxes"}),
    "text_classification": (("tokens", "segments"), PROBABILITIES),
    "text_multilabel": (("tokens", "segments"), PROBABILITIES),
    "text_regression": (("tokens", "segments"), {"values": "values"}),
    "masked_words": (("tokens", "segments"), {"top_words": "top_words", "top_probabilities": "top_probabilities"}),
    "masked_image": (("image",), {"features": "features"}),
    "contrastive": (
        ("image", "tokens"),
        {"image_embedding": "image", "text_embedding": "text", "scale": "scale", "bias": "bias"},
    ),
    "restoration": (("damaged",), {"restored": "restored"}),
}
Arrays = dict[str, np.ndarray]


class Program(NamedTuple):
    """A function of a run's variables and of a batch of inputs.

    Attributes:
        function: (variables, {name: [B, ...]}) -> {name: [B, ...]}.
        variables: the parameters that it reads, {collection: tree}.
        inputs: {name: one example of zeros}, without the batch.
        outputs: names of the results, in order.
        raw: whether images enter normalised, and logits come out.
    """

    function: Callable[[Variables, dict[str, jax.Array]], dict[str, jax.Array]]
    variables: Variables
    inputs: Arrays
    outputs: tuple[str, ...]
    raw: bool = False


def program_of(run: TrainedRun, raw: bool = False) -> Program:
    """The program of a run.

    Args:
        run: the trained run.
        raw: normalised float32 images in, logits out; for classifiers of images.

    Raises:
        UserError: predictions of this objective are not one pass through the model, or ``raw`` has no meaning for it.
    """
    if run.task_name not in SIGNATURES:
        raise UserError(
            f"a run of {run.task_name} predicts word by word, each from those before it; exported programs make one pass: "
            "use --format=hf, or vitax.load"
        )
    names, outputs = SIGNATURES[run.task_name]
    blank = run.reader.blank
    variables = {name: jax.device_get(tree) for name, tree in run.variables.items() if name != "teacher"}
    if raw:
        if run.task_name != "classification":
            raise UserError(f"--raw gives the logits of a classifier of images; this is a run of {run.task_name}")
        plain = {"image": np.zeros(blank["image"].shape, np.float32)}

        @plain_forms()
        def logits(variables: Variables, inputs: dict[str, jax.Array]) -> dict[str, jax.Array]:
            return {"logits": run.model.apply(variables, inputs["image"])}

        return Program(logits, variables, plain, ("logits",), raw=True)
    if run.task_name == "masked_image":
        return _features_of_mae(run, variables)

    @plain_forms()
    def function(variables: Variables, inputs: dict[str, jax.Array]) -> dict[str, jax.Array]:
        rows = inputs[names[0]].shape[0]
        others = {
            name: jnp.zeros((rows, *x.shape), x.dtype) for name, x in blank.items() if name not in names
        }  # labels, which predictions do not read
        found = run.task.predict(variables, {**others, **inputs})
        return {name: found[theirs] for name, theirs in outputs.items()}

    return Program(function, variables, {name: np.asarray(blank[name]) for name in names}, tuple(outputs))


def with_matrix_products(run: TrainedRun) -> TrainedRun:
    """The run with its Fourier transforms as matrix products, which converters know; a run without them is unchanged."""
    if not hasattr(run.model, "fourier"):
        return run
    model = run.model.clone(fourier="matmul")
    return run._replace(model=model, task=build_task(run.config, model, run.reader))


def _features_of_mae(run: TrainedRun, variables: Variables) -> Program:
    """The features of an MAE, without the decoder, which `Task.predict` also runs."""
    encoder, spec = run.model.encoder(parent=None), run.reader.spec

    @plain_forms()
    def function(variables: Variables, inputs: dict[str, jax.Array]) -> dict[str, jax.Array]:
        tokens = encoder.apply(variables, augment.normalize(inputs["image"], spec.mean, spec.std))
        return {"features": tokens[:, 1:].mean(axis=1).astype(jnp.float32)}

    inputs = {"image": np.asarray(run.reader.blank["image"])}
    return Program(function, {"params": variables["params"]["encoder"]}, inputs, ("features",))


def examples(run: TrainedRun, program: Program, files: list[str]) -> Arrays:
    """Inputs with which an export is checked, {name: [CHECKED, ...]}: named images, or those of the run's test split.

    Raises:
        UserError: the data of the run cannot be opened, and no images are named; or one of them cannot be read.
    """
    transform = run.reader.transform
    if files and "tokens" in program.inputs and "image" not in program.inputs:
        raise UserError("an export of a model of texts is checked with texts of its run: name no files")
    if files:
        found = list(read_images(image_files(files)[:CHECKED], run))
        if broken := [(name, example) for name, example in found if isinstance(example, Exception)]:
            raise UserError(f"{broken[0][0]}: {broken[0][1]}")
        rows = [example for _, example in found]
    else:
        try:
            pipeline = build(run.config, run.path).pipeline
        except UserError as error:
            raise UserError(
                f"the export is checked with test examples of the run, whose data cannot be opened ({error}); name some "
                "images instead"
            ) from error
        test, transform = pipeline.splits.test, pipeline.reader.transform
        rows = [test[int(i)] for i in np.unique(np.linspace(0, len(test) - 1, CHECKED).astype(int))]
    rng = np.random.default_rng(0)  # test transforms draw no random numbers
    rows = [transform(row, rng) for row in rows]
    chosen = {name: np.stack([np.asarray(row[name]) for row in rows]) for name in program.inputs}
    if program.raw:
        spec: Any = inputs_of(run.reader.spec)
        chosen["image"] = ((chosen["image"] / 255 - np.array(spec.mean)) / np.array(spec.std)).astype(np.float32)
    return chosen


def about(run: TrainedRun, program: Program) -> dict[str, Any]:
    """What a program needs and gives, as JSON: inputs, outputs, names of the classes, and how images are prepared."""
    listed = {name: {"shape": ["batch", *x.shape], "dtype": x.dtype.name} for name, x in program.inputs.items()}
    found: dict[str, Any] = {"vitax": vitax.__version__, "task": run.task_name, "inputs": listed}
    found |= {"outputs": list(program.outputs), "class_names": list(run.reader.record.get("class_names", ()))}
    spec: Any = inputs_of(run.reader.spec)
    if isinstance(spec, ImageSpec):
        if isinstance(run.reader.spec, MaskSpec):  # a whole image is cut into windows of the size of the program
            pairs: Any = run.reader.transform
            crop: dict[str, Any] = dict(
                short_side=pairs.short_side, long_side=pairs.long_side, interpolation="bilinear"
            )
        elif isinstance(run.reader.spec, BoxSpec):  # a whole picture is resized, and put into the top left of the image
            transform: Any = run.reader.transform
            sides = dict(short_side=transform.short_sides[0], long_side=transform.long_side)
            crop = dict(**sides, interpolation="bilinear", fill=[round(value) for value in transform.fill])
        else:
            fraction, interpolation = reading.test_crop(run.config)
            crop = dict(test_crop_fraction=fraction, interpolation=interpolation)
        found["images"] = dict(image_size=list(spec.image_size), channels=spec.channels, **crop)
        if spec.pixel_range:
            found["images"] |= dict(pixel_range=spec.pixel_range, scale="values * 255 / pixel_range")
        if program.raw:
            found["images"] |= dict(mean=list(spec.mean), std=list(spec.std))
    return found


class Checked(NamedTuple):
    """How an exported program compares with the model.

    Attributes:
        difference: the largest difference, see `largest_difference`.
        milliseconds: of one example here, by the exported program; the median of 20 calls.
        of_model: the same, by the model.
    """

    difference: float
    milliseconds: float
    of_model: float


def milliseconds(call: Callable[[], Any]) -> float:
    """The median time of a call, of 20 after 3 that do not count."""
    times = []
    for _ in range(23):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times[3:]))


def largest_difference(expected: dict[str, Any], found: dict[str, Any], where: Path) -> float:
    """The largest difference between two results of a program, relative to the largest number where that exceeds 1.

    Raises:
        UserError: it is larger than rounding explains.
    """
    largest = 0.0
    for name, ours in expected.items():
        ours, theirs = np.asarray(ours, np.float32), np.asarray(found[name], np.float32)
        if ours.shape != theirs.shape or not np.isfinite(theirs).all():
            raise UserError(f"{where} gives {name} of shape {theirs.shape}, or numbers that are not finite")
        difference = float(np.abs(ours - theirs).max() / max(1.0, float(np.abs(ours).max())))
        # Bytes and ranks of equal words may differ by one where rounding decides.
        allowed = 0.01 if name == "restored" else 1e-4
        if difference > allowed and name != "top_words":
            raise UserError(f"{where} gives another {name}: the largest difference is {difference:.1e}")
        largest = max(largest, difference if name != "top_words" else 0.0)
    return largest
