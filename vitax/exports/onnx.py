"""A program as ONNX, converted by jax2onnx and compared in ONNX Runtime; both come with ``pip install "vitax[onnx]"``."""

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np

from vitax.errors import UserError, in_one_line
from vitax.exports.programs import Arrays, Checked, Program, largest_difference, milliseconds

NAME = "model.onnx"


def write_onnx(program: Program, folder: Path, about: dict[str, Any], inputs: Arrays) -> Checked:
    """Writes a program into a folder, runs it from there, and compares it with the model itself.

    The folder has `NAME`, which holds the parameters, and about.json. The batch may have any size.

    Raises:
        UserError: the converter is not installed, or does not know a part of the model; or the file gives other results.
    """
    try:
        import jax2onnx
        import onnxruntime
    except ImportError as error:
        raise UserError(f'--format=onnx needs {error.name}: pip install "vitax[onnx]"') from error
    names = list(program.inputs)

    def positional(*arrays: jax.Array) -> tuple[jax.Array, ...]:
        results = program.function(program.variables, dict(zip(names, arrays, strict=True)))
        return tuple(results[name] for name in program.outputs)

    expected = jax.jit(program.function)(program.variables, inputs)
    shapes = [SimpleNamespace(shape=("batch", *x.shape), dtype=x.dtype) for x in program.inputs.values()]
    try:
        with _quiet():
            jax2onnx.to_onnx(
                positional,
                shapes,
                input_names=names,
                output_names=program.outputs,
                return_mode="file",
                output_path=str(folder / NAME),
            )
    except Exception as error:  # the converter may raise any kind of exception
        raise UserError(f"jax2onnx cannot convert this model: {type(error).__name__}: {in_one_line(error)}") from error
    (folder / "about.json").write_text(json.dumps(about, indent=2, ensure_ascii=False), encoding="utf-8")
    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(folder / NAME), options, providers=["CPUExecutionProvider"])
        difference = 0.0
        for rows in (slice(None), slice(0, 1)):  # two batch sizes
            results = session.run(None, {name: np.ascontiguousarray(x[rows]) for name, x in inputs.items()})
            found = dict(zip(program.outputs, results, strict=True))
            these = {name: np.asarray(x)[rows] for name, x in expected.items()}
            difference = max(difference, largest_difference(these, found, folder / NAME))
        single = {name: np.ascontiguousarray(x[:1]) for name, x in inputs.items()}
        theirs = milliseconds(lambda: session.run(None, single))
    except UserError:
        raise
    except Exception as error:  # as above
        raise UserError(
            f"ONNX Runtime cannot run the converted model: {type(error).__name__}: {in_one_line(error)}"
        ) from error
    own, here = jax.jit(program.function), jax.tree.map(jax.numpy.asarray, (program.variables, single))
    return Checked(difference, theirs, milliseconds(lambda: own(*here)))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences what the converter says about itself; the comparison afterwards is what counts."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
