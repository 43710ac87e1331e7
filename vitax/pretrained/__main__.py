"""Says what a file of weights is, which model it fits, and what loading it does.

python -m vitax.pretrained FILE                              or the folder of a model hub
python -m vitax.pretrained FILE num_heads=4 image_size=384   fields that no file tells, or that shall change
python -m vitax.pretrained FILE --save=OUT.safetensors --format="timm ViT"   write it with other names
"""

import argparse
import ast
import sys
from typing import Any

import jax

from vitax import cli, pretrained
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


def start(argv: list[str]) -> None:
    """Does what the command line says; gives the exit code."""
    parser = argparse.ArgumentParser(
        "python -m vitax.pretrained", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("file")
    parser.add_argument("fields", nargs="*", metavar="field=value")
    parser.add_argument("--family", default="", help='where a file could be of two: "vit" reads an MAE\'s encoder')
    parser.add_argument("--allow_missing", action="append", default=[], metavar="PATTERN")
    parser.add_argument("--allow_unexpected", action="append", default=[], metavar="PATTERN")
    parser.add_argument("--save", default="", metavar="OUT.safetensors")
    parser.add_argument("--format", default="", help=f"of --save: {', '.join(pretrained.FORMATS)}")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    options = parser.parse_args(argv)
    fields = {}
    for field in options.fields:
        name, equals, value = field.partition("=")
        if not equals:
            raise UserError(f"{field!r} is not field=value")
        fields[name] = value_of(value)
    loaded = pretrained.load(
        options.file,
        family=options.family,
        allow_missing=options.allow_missing,
        allow_unexpected=options.allow_unexpected,
        **fields,
    )
    format = pretrained.FORMATS[loaded.report.format]
    print(describe(loaded, format))
    if options.save:
        name = options.format or format.name
        pretrained.save(options.save, loaded.model, loaded.variables, name)
        print(f"written   {options.save} ({name})")


def main() -> None:
    """The command."""
    cli.exit_with(lambda: start(sys.argv[1:]), debug="--debug" in sys.argv)


if __name__ == "__main__":
    main()
