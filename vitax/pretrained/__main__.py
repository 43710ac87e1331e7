"""Prints the format of a file of weights, the model that it fits, and a report of loading it.

python -m vitax.pretrained FILE                              FILE may also be the folder of a model hub
python -m vitax.pretrained FILE num_heads=4 image_size=384   sets fields that files do not record, or changes fields
python -m vitax.pretrained FILE --save=OUT.safetensors --format="timm ViT"   writes it with other names
"""

import jax

from vitax import pretrained
from vitax.cli import Arguments, Command, Flag
from vitax.config import literal
from vitax.errors import UserError
from vitax.models import MODELS
from vitax.pretrained.format import Format


def describe(loaded: pretrained.Loaded, format: Format) -> str:
    """A description of the model, of its fields that differ from the defaults, and of the loading."""
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
    arguments = ", ".join(f"{name}={value!r}" for name, value in fields.items())
    return f"""\
format    {format.name}
family    {format.family}: {family.paper}
size      {size or "none of the published sizes"}
model     {type(model).__name__}({arguments})
          {parameters:,} parameters
report    {loaded.report}"""


FLAGS = (
    Flag("family", "", 'family of the model, if the file fits two of them: "vit" reads an MAE\'s encoder'),
    Flag("entry", "", "key of the weights in a training checkpoint that holds several, such as model_ema"),
    Flag("allow_missing", (), "comma-separated patterns of parameters that may be missing"),
    Flag("allow_unexpected", (), "comma-separated patterns of names in the file that may be left out"),
    Flag("save", "", "file to write: OUT.safetensors"),
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
    loaded = pretrained.load(
        file,
        family=flags["family"],
        entry=flags["entry"],
        allow_missing=tuple(flags["allow_missing"]),
        allow_unexpected=tuple(flags["allow_unexpected"]),
        **fields,
    )
    format = pretrained.FORMATS[loaded.report.format]
    print(describe(loaded, format))
    if flags["save"]:
        name = flags["format"] or format.name
        pretrained.save(flags["save"], loaded.model, loaded.variables, name)
        print(f"written   {flags['save']} ({name})")


COMMAND = Command(__doc__, FLAGS, run, config="none", positional=True)

if __name__ == "__main__":
    COMMAND.main()
