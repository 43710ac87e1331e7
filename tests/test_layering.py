"""Who may import whom. The package is read, not run."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from vitax.models import MODELS
from vitax.tasks import TASKS

ROOT = Path(__file__).parent.parent / "vitax"

# room (package or module) -> what of vitax it may import, itself always included.
LEAVES = ("errors", "sniff")
ALLOWED = {
    "errors": (),
    "docstrings": (),
    "sniff": (),
    "environment": (),
    "hub": ("errors",),
    "losses": (),
    "masking": (),
    "boxes": ("mesh",),
    "augment": (),
    "metrics": (),
    "generate": ("masking",),
    "macs": (),
    "specs": (),
    "mesh": LEAVES,
    "backend": LEAVES,
    "nn": ("mesh", "masking"),
    "models": ("nn", "mesh", "macs", "masking"),
    "tasks": ("losses", "masking", "boxes", "augment", "metrics", "generate", "specs", "nn.patches"),
    "data": (*LEAVES, "specs", "hub"),
    "page": ("data.drawing",),
    "pipelines": ("data", "specs", "errors"),
    "monitoring": ("metrics", "mesh", "errors"),
    "training": ("tasks.task", "metrics", "mesh", "monitoring", "errors"),
    "evals": ("tasks", "training", "metrics", "data", "pipelines", "errors", "specs", "macs", "models.swinir"),
    "config": LEAVES,
    "config_file": ("config", "errors"),
    "sections": ("data", "errors", "training"),
    "schema": ("config", "data", "errors", "evals", "mesh", "models", "pipelines", "sections", "tasks", "training"),
    "config_help": (
        *("config", "data", "docstrings", "evals", "mesh", "models", "pipelines", "schema", "sections", "tasks"),
        "training",
    ),
    "resolve": ("config", "errors", "models", "schema", "sections"),
    "lock": ("errors",),
    "rundir": ("config", "errors", "lock", "resolve"),
    "adopt": ("config", "errors", "models", "pretrained", "rundir"),
    "cli": ("adopt", "config", "config_file", "config_help", "errors", "resolve", "rundir"),
    "pretrained": ("models", "nn", "errors", "config", "sniff", "hub"),
    "pretrained.__main__": ("models", "errors", "config", "cli", "pretrained"),
    "build": None,  # None: everything below it, see `test_rooms_have_floors`
    "reading": ("build", "config", "data", "pipelines", "schema", "sections", "tasks"),
    "runs": None,
    "explain": ("nn",),
    "explain.__main__": None,
    "prediction": None,
    "explanation": None,
    "report": None,
    "library": None,
    "planning": None,
    "main": None,
    "predict": None,
    "cross_validate": None,
    "plan": None,
    "doctor": None,
    "bench": None,
    "embed": None,
    "neighbors": None,
    "sweep": None,
    "exports": None,
    "export": None,
    "command": ("config", "config_file", "__version__"),
    "show_configs": ("cli", "config_file", "errors"),
}
ONLY = {  # third-party packages that may be imported in some places only
    "flax": (
        "nn",
        "models",
        "tasks",
        "build",
        "reading",
        "config",
        "pretrained",
        "runs",
        "evals",
        "prediction",
        "explanation",
        "library",
        "adopt",
        "exports",
    ),
    "safetensors": ("pretrained",),
    "huggingface_hub": ("pretrained", "hub"),
    "jax2onnx": ("exports",),
    "wandb": ("monitoring",),
    "mlflow": ("monitoring",),
    "onnxruntime": ("exports",),
    "packaging": ("doctor",),
    "grain": ("data",),
    "orbax": ("training",),
    "optax": ("training", "build", "boxes"),  # boxes: its assignment
    "tokenizers": ("data",),
    "sacrebleu": ("evals",),
    "pycocotools": ("evals", "data"),
    "num2words": ("data",),
    "scipy": ("evals",),
    "sklearn": ("data", "evals", "report", "neighbors"),
    "PIL": ("data", "prediction"),
    "threadpoolctl": ("report",),
    "matplotlib": ("explain", "page", "report", "neighbors", "sweep"),
    "tensorflow_datasets": ("data",),
}
# What has no public name yet: targets that are elsewhere, layouts, and what JAX asks about the GPU.
WITHOUT_PUBLIC_NAMES = (
    "jax.experimental.topologies",
    "jax.experimental.compilation_cache.compilation_cache",
    "jax.experimental.layout.Layout",
    "jax.experimental.layout.with_layout_constraint",
    "jax._src.cudnn.fused_attention_stablehlo",
)
NOWHERE = ("tensorflow", "torch", "chex", "configs", "experiments", "tests", "notebooks")


def files():
    return sorted(ROOT.rglob("*.py"))


def layer(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts) if ".".join(parts) in ALLOWED else parts[0]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path):
    own = layer(path)
    if own == "__init__":
        assert set(imports(path)) <= {
            "pathlib.Path",
            "typing.TYPE_CHECKING",
            "typing.Any",
            "vitax.library.Model",
            "vitax.library.load",
        }
        return
    for name in imports(path):
        top, *rest = name.split(".")
        assert top not in NOWHERE, f"{path} imports {name}"
        assert own in ONLY.get(top, (own,)), f"{path} imports {name}"
        unnamed = ("jax._src", "jax.experimental", "flax.training")
        assert not name.startswith(unnamed) or name in WITHOUT_PUBLIC_NAMES, name
        if top == "vitax" and ALLOWED[own] is not None:
            inside = ".".join(rest)
            allowed = (own, "__version__", *ALLOWED[own])
            assert any(inside == a or inside.startswith(f"{a}.") for a in allowed), f"{path} imports {name}"


def room(name):
    """The room of a dotted name inside vitax; a verb that is the __main__ of a package stands above the package."""
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[1:2] == ["__main__"] else parts[0]


def test_rooms_have_floors():
    """No room imports one that imports it, however far around: the rooms can be sorted into floors."""
    graph = {}
    for path in files():
        own = room(".".join(path.relative_to(ROOT).with_suffix("").parts))
        used = {room(name.removeprefix("vitax.")) for name in imports(path) if name.startswith("vitax.")}
        graph.setdefault(own, set()).update(used - {own, "__version__"})
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_every_module_has_its_place_and_a_name_that_says_something():
    assert {layer(path) for path in files()} - {"__init__"} <= set(ALLOWED)
    assert not {"utils", "util", "helpers", "common", "misc"} & {path.stem for path in files()}


READERS = ("adopt", "build", "reading", "resolve", "schema", "config", "config_file", "config_help")


def test_two_modules_read_the_values_of_a_config():
    """`build` and `reading`; `adopt`, which writes them; and those below that know no single key."""
    for path in files():
        if layer(path) in READERS or layer(path).startswith("pretrained"):
            continue  # a config.json of other projects is another thing
        for node in ast.walk(ast.parse(path.read_text())):
            key = node.slice if isinstance(node, ast.Subscript) else None
            if isinstance(key, ast.Constant) and isinstance(node.value, ast.Name | ast.Attribute):
                name = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
                assert name != "config", f"{path}:{node.lineno} reads a key of a config"


def test_training_names_no_objective_and_no_model():
    families = "vit mae swin swinir nat clip bert mixer fnet dynamicvit transformer"
    names = {*MODELS, *TASKS, *families.split(), "image", "label", "token", "pixel"}
    for path in (ROOT / "training").glob("*.py"):
        words = set(re.findall(r"[a-z]+", path.read_text().lower()))
        # Gradients are clipped, and there are parameters called tokens.
        assert words & names <= {"token", "clip"}, path.name


def test_files_are_short():
    long = {path.name: n for path in files() if (n := len(path.read_text().splitlines())) > 300}
    assert not long


def test_functions_are_short():
    """Factories of objectives are an exception: their closures read like the objective's formula."""
    long = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in files()
        if path.parent.name != "tasks"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= 60
    ]
    assert not long


def test_what_is_public_is_documented():
    silent = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in files()
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        if not node.name.startswith("_") and not ast.get_docstring(node)
    ]
    assert not silent
    assert all(ast.get_docstring(ast.parse(p.read_text())) for p in files() if p.stat().st_size)


def test_the_map_has_everything():
    there = {p.stem for p in ROOT.glob("*.py")} - {"__init__"}
    there |= {f"{p.parent.name}/" for p in ROOT.glob("*/__init__.py")}
    places = ast.get_docstring(ast.parse((ROOT / "__init__.py").read_text())).split("The way of a batch")[0]
    missing = {name for name in there if not re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", places)}
    assert not missing


def test_what_raises_says_what():
    commands = ("start",)  # of all: UserError for what is wrong on the command line
    silent = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in files()
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
        if node.name not in commands and raises(node) and "Raises:" not in ast.get_docstring(node)
    ]
    assert not silent


def raises(node):
    """Whether a function itself, not one inside it, raises an error of its own."""
    inner = [n for n in ast.walk(node) if isinstance(n, ast.FunctionDef | ast.ClassDef) and n is not node]
    apart = {id(n) for function in inner for n in ast.walk(function)}
    return any(isinstance(n, ast.Raise) and n.exc is not None and id(n) not in apart for n in ast.walk(node))
