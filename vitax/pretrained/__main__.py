"""Prints the format of a file of weights, the model that it fits, and a report of loading it.

python -m vitax.pretrained FILE                              FILE may also be a folder in the layout of a model hub
python -m vitax.pretrained hf-hub:OWNER/NAME[@REVISION][:FILE]   reads only the header of weights on the hub
python -m vitax.pretrained FILE num_heads=4 image_size=384   sets fields that files do not record, or changes fields
python -m vitax.pretrained FILE --save=OUT.safetensors --format="timm ViT"   writes it with other names
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from vitax import pretrained
from vitax.cli import Arguments, Command, Flag
from vitax.config import literal
from vitax.errors import UserError
from vitax.models import MODELS
from vitax.pretrained import hub
from vitax.pretrained.files import read_config
from vitax.pretrained.format import Format
from vitax.pretrained.preprocessing import class_names, read_preprocessing


def describe(loaded: pretrained.Loaded, format: Format, folder: Path | None) -> str:
    """A description of the model, of its fields that differ from the defaults, of its preprocessing, and of the loading.

    Args:
        loaded: the model.
        format: the format of the file.
        folder: the folder of the files beside the weights; None = there are none.
    """
    model, family = loaded.model, MODELS[format.family]
    fields = {
        name: getattr(model, name)
        for name, field in type(model).__dataclass_fields__.items()
        if name not in ("parent", "name") and getattr(model, name) != field.default
    }
    size = next(
        (name for name, preset in family.sizes.items() if all(getattr(model, k) == v for k, v in preset.items())), ""
    )
    parameters = sum(x.size for x in jax.tree.leaves(loaded.variables["params"]))
    images = read_preprocessing(folder, format.name) if folder and family.view else None
    prepared = f"\nimages    {images._replace(class_names=())}" if images else ""
    arguments = ", ".join(f"{name}={value!r}" for name, value in fields.items())
    return f"""\
format    {format.name}
family    {format.family}: {family.paper}
size      {size or "none of the published sizes"}
model     {type(model).__name__}({arguments})
          {parameters:,} parameters{prepared}
report    {loaded.report}"""


def _previewed(name: str) -> tuple[dict[str, np.ndarray], Path | None]:
    """Prints what the hub tells about weights; returns tensors of their shapes, and the folder of the files beside them.

    Raises:
        UserError: only the whole file tells which tensors it holds.
    """
    seen = hub.preview(name)
    size = sum(seen.sizes.values())
    print(f"hub       {name}, commit {seen.commit}\nweights   {', '.join(seen.sizes)}: {size:,} bytes, not downloaded")
    if not seen.tensors:
        raise UserError(
            f"only the whole of {', '.join(seen.sizes)} tells its tensors: --save=OUT.safetensors downloads and converts it"
        )
    return seen.tensors, seen.folder


def _kept(model: Any, format: Format, folder: Path) -> dict[str, Any]:
    """What the files beside weights say and a new folder keeps: preprocessing, and names of as many classes as there are."""
    images = read_preprocessing(folder, format.name) if MODELS[format.family].view else None
    if images is not None:
        images = images._replace(image_size=tuple(images.image_size or getattr(model, "image_size", ())))
    names = class_names(read_config(folder, format.name))
    return dict(images=images, class_names=names if len(names) == getattr(model, "num_classes", 0) else ())


FLAGS = (
    Flag("family", "", 'family of the model, if the file fits two of them: "vit" reads an MAE\'s encoder'),
    Flag("entry", "", "key of the weights in a training checkpoint that holds several, such as model_ema"),
    Flag("allow_missing", (), "comma-separated patterns of parameters that may be missing"),
    Flag("allow_unexpected", (), "comma-separated patterns of names in the file that may be left out"),
    Flag("save", "", "file to write, OUT.safetensors, or a folder that the other library opens"),
    Flag("format", "", f"format of the written file; empty: that of FILE. One of {', '.join(pretrained.FORMATS)}"),
)


def run(arguments: Arguments) -> None:
    """Loads a file, describes it and, with --save, writes it.

    Raises:
        UserError: no file was named, or an argument is not field=value.
    """
    flags = arguments.flags
    if not arguments.positional:
        raise UserError("name a file: python -m vitax.pretrained FILE [field=value...]")
    file, *assignments = arguments.positional
    fields = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise UserError(f"{assignment!r} is not field=value")
        fields[name] = literal(value)
    source, folder = file, None
    if hub.is_name(file) and not flags["save"]:
        source, folder = _previewed(file)
    loaded = pretrained.load(
        source,
        family=flags["family"],
        entry=flags["entry"],
        allow_missing=tuple(flags["allow_missing"]),
        allow_unexpected=tuple(flags["allow_unexpected"]),
        beside=folder,
        **fields,
    )
    folder = folder if source is not file else pretrained.find(file).parent
    format = pretrained.FORMATS[loaded.report.format]
    print(describe(loaded, format, folder))
    if flags["save"]:
        name = flags["format"] or format.name
        more = {} if flags["save"].endswith(".safetensors") or folder is None else _kept(loaded.model, format, folder)
        pretrained.save(flags["save"], loaded.model, loaded.variables, name, **more)
        print(f"written   {flags['save']} ({name})")


COMMAND = Command(__doc__, FLAGS, run, config="none", positional=True)

if __name__ == "__main__":
    COMMAND.main()
