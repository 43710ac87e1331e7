"""Says what a file of weights is, which model it fits, and what loading it does.

python -m vitax.pretrained FILE                              or the folder of a model hub
python -m vitax.pretrained FILE num_heads=4 image_size=384   fields that no file tells, or that shall change
python -m vitax.pretrained FILE --save=OUT.safetensors --format="timm ViT"   write it with other names
"""

import ast
from typing import Any

import jax

from vitax import pretrained
from vitax.cli import Arguments, Command, Flag
from vitax.errors import UserError
from vitax.models import MODELS
from vitax.pretrained.format import Format


def describe(loaded: pretrained.Loaded, format: Format) -> str:
    """The model, its fields where they differ from the defaults, and the report."""
    model, family = loaded.model, MODELS[format.family]
    fields = {
        name: getattr(model, name)
        for name, field in type(model).__dataclass_fields__.items()
        if name not in ("parent", "name") and getattr(model, name) != field.default
    }
    size = next(
        (name for name, wanted in family.sizes.items() if all(getattr(model, k) == v for k, v in wanted.items())), ""
    )
    parameters = sum(x.size for x in jax.tree.leaves(loaded.variables["params"]))
    spelled = ", ".join(f"{name}={value!r}" for name, value in fields.items())
    return f"""\
format    {format.name}
family    {format.family}: {family.paper}
size      {size or "none of the published"}
model     {type(model).__name__}({spelled})
          {parameters:,} parameters
report    {loaded.report}"""


def value_of(text: str) -> Any:
    """What is behind ``field=``: a Python literal, or else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


FLAGS = (
    Flag("family", "", 'where a file could be of two families: "vit" reads an MAE\'s encoder'),
    Flag("allow_missing", (), "patterns of parameters that may be missing, with commas"),
    Flag("allow_unexpected", (), "patterns of parameters that may be left out, with commas"),
    Flag("save", "", "file to write: OUT.safetensors"),
    Flag("format", "", f"names in that file; empty: those of FILE. One of {', '.join(pretrained.FORMATS)}"),
)


def run(arguments: Arguments) -> None:
    """Loads a file, prints what it is and, with --save, writes it.

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
        fields[name] = value_of(value)
    patterns = {name: tuple(flags[name]) for name in ("allow_missing", "allow_unexpected")}
    loaded = pretrained.load(file, family=flags["family"], **patterns, **fields)
    format = pretrained.FORMATS[loaded.report.format]
    print(describe(loaded, format))
    if flags["save"]:
        name = flags["format"] or format.name
        pretrained.save(flags["save"], loaded.model, loaded.variables, name)
        print(f"written   {flags['save']} ({name})")


COMMAND = Command(__doc__, FLAGS, run, config="none", positional=True)

if __name__ == "__main__":
    COMMAND.main()
