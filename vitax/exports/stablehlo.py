"""A program as StableHLO, for any machine that JAX runs on; its parameters lie beside it.

from jax import export
program = export.deserialize(bytearray(Path("OUT/program.jax").read_bytes()))
outputs = program.call(unflatten_dict(safetensors.numpy.load_file("OUT/weights.safetensors"), sep="/"), inputs)
"""

import importlib.util
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import export

from vitax.errors import UserError
from vitax.exports.programs import Arrays, Checked, Program, largest_difference, milliseconds
from vitax.pretrained import files

PLATFORMS = ("cpu", "cuda", "tpu")
NAME = "program.jax"


def write_stablehlo(program: Program, folder: Path, about: dict, inputs: Arrays) -> Checked:
    """Writes a program into a folder, runs it from there, and compares it with the model itself.

    The folder has `NAME` (opened by ``jax.export.deserialize``), the same program as text in program.mlir,
    weights.safetensors, and about.json.

    Raises:
        UserError: flatbuffers is not installed, or the program gives other results than the model.
    """
    if importlib.util.find_spec("flatbuffers") is None:
        raise UserError('--format=stablehlo needs flatbuffers: pip install "vitax[stablehlo]"')
    flat = {path: np.asarray(x) for path, x in flatten_dict(program.variables, sep="/").items()}
    (batch,) = export.symbolic_shape("batch")
    shapes = {name: jax.ShapeDtypeStruct((batch, *x.shape), x.dtype) for name, x in program.inputs.items()}
    parameters = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), unflatten_dict(flat, sep="/"))
    exported = export.export(jax.jit(program.function), platforms=PLATFORMS)(parameters, shapes)
    (folder / NAME).write_bytes(exported.serialize())
    (folder / "program.mlir").write_text(exported.mlir_module(), encoding="utf-8")
    files.write(folder / "weights.safetensors", flat, {"vitax": "paths of the parameters"})
    (folder / "about.json").write_text(json.dumps(about, indent=2, ensure_ascii=False), encoding="utf-8")

    read = export.deserialize(bytearray((folder / NAME).read_bytes()))
    variables = unflatten_dict(files.read(folder / "weights.safetensors").tensors, sep="/")
    expected = jax.jit(program.function)(program.variables, inputs)
    found = read.call(variables, jax.tree.map(jnp.asarray, inputs))
    difference = largest_difference(expected, found, folder / NAME)
    one = read.call(variables, jax.tree.map(lambda x: jnp.asarray(x[:1]), inputs))  # another batch size
    first = {name: x[:1] for name, x in expected.items()}
    difference = max(difference, largest_difference(first, one, folder / NAME))
    single = jax.tree.map(lambda x: jnp.asarray(x[:1]), inputs)
    called, own = jax.jit(read.call), jax.jit(program.function)
    theirs, ours = milliseconds(lambda: called(variables, single)), milliseconds(lambda: own(variables, single))
    return Checked(difference, theirs, ours)
