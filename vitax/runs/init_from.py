"""Weights that a run starts from: a file of another project, or another run, of the same model or of a part of it."""

from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from vitax import pretrained, rundir
from vitax.build import Run
from vitax.data.tokens import load_vocabulary
from vitax.errors import UserError
from vitax.models import MODELS, variable_shapes
from vitax.models.swin_v2 import as_trained
from vitax.pretrained.preprocessing import class_names, read_preprocessing
from vitax.pretrained.tokenizer import TEXTS, tokenizer_beside
from vitax.runs.head_classes import head_for
from vitax.runs.passages import PASSAGES, SOURCES, Passage, of_any_size, part_of
from vitax.runs.saved import open_saved
from vitax.runs.tokenizer_files import check_tokenizer
from vitax.specs import inputs_of, pixels_of
from vitax.tasks import Variables

Params = dict[str, Any]


def initial_variables(run: Run) -> tuple[Variables, str]:
    """The variables that config.init_from names, and a report for people.

    The folder of a run gives its best checkpoint, with averaged parameters if it has them; anything else is read by
    `vitax.pretrained`. `PASSAGES` lists the models that can start from a part of another model, or become a part of it.

    Raises:
        UserError: the weights cannot be read, or do not fit the model.
    """
    path, family = Path(run.top.init_from).expanduser(), run.family
    of_run = (path / "checkpoints").is_dir()
    if of_run:
        _check_tokenizer(path / rundir.TOKENIZER, run)
    source = _of_run(path, run) if of_run else _of_file(path, family, run)
    passage = PASSAGES.get((source.family, family))
    if passage is None and source.family != family:
        raise UserError(f"config.init_from={path} holds a model {source.family!r}, which has no weights for {family!r}")
    _check(source, run, family, path, of_run)
    variables, report, notes = source.variables, source.report, ()
    if passage is not None:
        variables = {**variables, "params": passage.take(variables["params"])}
        report.loaded = pretrained.paths(variables)
        notes = (passage.note,)
    variables, told_classes = head_for(variables, source.class_names, run.pipeline.splits.train.class_names)
    notes = (*notes, told_classes) if told_classes else notes
    allowed = passage or Passage(lambda params: params, "")
    fitted = pretrained.adapt(
        variables,
        run.model,
        family,
        report,
        channels=pixels_of(run.pipeline.reader.spec).channels,
        allow_missing=(*run.top.init_new, *allowed.new),
        allow_unexpected=(*run.top.init_skip, *allowed.skip),
    )
    if not of_run and family in TEXTS and (remark := _tokenizer_beside(pretrained.find(path).parent, run)):
        notes = (*notes, f"texts{remark}")
    if not of_run and (told := _preprocessing(path, report.format, run)):
        notes = (*notes, told)
    if not of_run and str(found := pretrained.find(path)) != str(path):
        notes = (f"read from {found}", *notes)
    if teacher := run.shapes.collections.get("teacher"):
        fitted["teacher"] = _teacher(fitted["params"], teacher, report, path)
    return fitted, "\n".join((str(report), *notes))


class _Weights(NamedTuple):
    family: str
    model: nn.Module
    variables: Variables
    report: pretrained.Report
    class_names: tuple[str, ...]  # () = unknown


def _of_file(path: Path, family: str, run: Run) -> _Weights:
    """Weights of a file of the model's own family, or of a family that has a passage to it."""
    others = SOURCES.get(family, ())
    source_family = pretrained.family_of(path)
    if source_family not in (family, *others):  # a file that fits two families
        source_family = pretrained.family_of(path, (family, *others))
    known = MODELS[source_family].module.__dataclass_fields__
    part = {k: v for k, v in part_of(run.model, source_family, family).items() if v is not None and k in known}
    if source_family == "mae" != family:  # its decoder, whose heads few files record, is left out
        part["decoder_num_heads"] = 1
    fields = {key: part.pop(key) for key in ("image_size",) if key in part}
    if source_family == "swin_v2":  # without a config.json, nothing records it
        part["window"] = run.model.window
    if "pre_logits" in known:
        fields["pre_logits"] = getattr(run.model, "pre_logits", 0)
    model, variables, report = pretrained.load(
        path,
        family=source_family,
        allow_missing=run.top.init_new,
        allow_unexpected=run.top.init_skip,
        otherwise=part,
        **fields,
    )
    names = class_names(pretrained.files.read_config(pretrained.find(path).parent))
    return _Weights(source_family, model, variables, report, names)


def _of_run(path: Path, run: Run) -> _Weights:
    """The best variables in the folder of another run; the averaged ones if the run kept them."""
    saved = open_saved(path)
    _check_normalization(saved.reader.spec, run.pipeline.reader.spec, path)
    restored = saved.variables("best", run.mesh)
    # Without the collections that the objective has added, such as a teacher.
    shapes = variable_shapes(saved.model, saved.family, pixels_of(saved.reader.spec).channels)
    variables = jax.device_get({name: tree for name, tree in restored.preferred.items() if name in shapes})
    report = pretrained.Report(f"step {restored.step:,} of {path}", loaded=pretrained.paths(variables))
    return _Weights(saved.family, saved.model, variables, report, tuple(saved.meta.get("class_names", ())))


def _check(source: _Weights, run: Run, family: str, path: Path, of_run: bool) -> None:
    """Rejects weights that would fit but mean something else."""
    if of_run:
        _check_fields(source.model, part_of(run.model, source.family, family), path)
    else:
        tells = {key: getattr(source.model, key) for key in pretrained.FORMATS[source.report.format].tells}
        _check_told({**source.report.told, **tells}, run, source, family, path)
    _check_windows(source.model, run.model, path)
    if family == "dynamic_vit" and getattr(source.model, "pooling", "token") != "token":
        raise UserError(
            f"config.init_from={path} holds a model with pooling={source.model.pooling!r}; DynamicViT needs one with "
            "pooling='token', the class token"
        )
    _check_vocabulary(source, run, path)


def _check_normalization(there: Any, here: Any, path: Path) -> None:
    """Rejects a run whose images are normalised otherwise than those that the weights have seen."""
    for key in ("mean", "std", "pixel_range"):
        theirs, ours = (getattr(inputs_of(spec), key, None) for spec in (there, here))
        same_channels = key == "pixel_range" or len(theirs or ()) == len(ours or ())
        if None not in (theirs, ours) and same_channels and theirs != ours:
            raise UserError(
                f"config.init_from={path} was trained with {key}={theirs}, this run has {ours}: set "
                f'--config.data.{key}="{theirs}"'
            )


def _preprocessing(path: Path, format_name: str, run: Run) -> str:
    """A line with the preprocessing that the files beside weights record; "" = none, or no images.

    Raises:
        UserError: the run normalises images with another mean or standard deviation.
    """
    folder, spec = pretrained.find(path).parent, inputs_of(run.pipeline.reader.spec)
    recorded = read_preprocessing(folder, format_name)
    if recorded is None or not hasattr(spec, "mean"):
        return ""
    for key in ("mean", "std"):
        theirs, ours = getattr(recorded, key), getattr(spec, key)
        if len(theirs) == len(ours) and tuple(theirs) != tuple(ours):
            raise UserError(
                f"config.init_from={path}: {recorded.origin} records {key}={theirs}, this run has {ours}: set "
                f'--config.data.{key}="{theirs}"'
            )
    crop = recorded.test_crop_fraction
    return (
        f"preprocessing mean={recorded.mean}, std={recorded.std}, test_crop_fraction={crop:g}, "
        f"interpolation={recorded.interpolation or 'unknown'}: {recorded.origin}"
    )


def _teacher(params: Params, wanted: Params, report: pretrained.Report, path: Path) -> Params:
    """The parameters of the teacher, a copy of the student's, all of which must come from the weights."""
    if new := [name for name in report.remade if name.split("/")[1] in wanted]:
        raise UserError(
            f"config.init_from={path} has no {', '.join(new)} for this model, and so no teacher to learn from: "
            "train a dense model of these classes first"
        )
    return {name: params[name] for name in wanted}


def _check_fields(there: nn.Module, here: dict[str, Any], path: Path) -> None:
    """Rejects fields that differ from those of the weights, do not show in them, and change their meaning."""
    for key, new in here.items():
        old = getattr(there, key, None)
        if None not in (old, new) and old != new and key != "image_size":
            raise UserError(
                f"config.model.{key}={new!r} is {old!r} in {path}, the source of the weights for config.init_from: "
                "they would mean something else"
            )
    # Offsets along the sequence of patches: in an image of another shape, they lie in other directions.
    before, now = (tuple(size) for size in (getattr(there, "image_size", ()), here.get("image_size") or ()))
    if getattr(there, "positions", "") == "relative_1d" and now and before != now:
        raise UserError(
            f"config.data.image_size={now} is {before} in {path}, the source of the weights for config.init_from, whose "
            "positions 'relative_1d' belong to that size"
        )


def _check_told(told: dict[str, Any], run: Run, source: _Weights, family: str, path: Path) -> None:
    """Rejects fields that differ from those that a file or its config.json tells; names all of them."""
    tower = (source.family, family) == ("vit", "clip")
    here = pretrained.settled(part_of(run.model, source.family, family))
    other, fixed = {}, []
    for key, value in pretrained.settled(told).items():
        new = here.get(key)
        new = pretrained.IMPLIED.get(key) if new is None else new
        same = key == "end_token" and value in (-1, new) and new in (value, getattr(run.model, "vocab_size", 0) - 1)
        if new is None or new == value or same or key in ("image_size", "pooling"):
            continue
        name = "image_heads" if tower and key == "num_heads" else key
        if name not in type(run.model).__dataclass_fields__ or (tower and key != "num_heads") or key == "end_token":
            fixed.append(f"{key}={value!r} (this model: {new!r})")
        else:
            other[name] = (value, new)
    if fixed:
        raise UserError(
            f"config.init_from={path}: the weights are for {', '.join(fixed)}, which cannot be chosen here: "
            "they would mean something else"
        )
    if other:
        differences = ", ".join(f"{key}={old!r} (this run: {new!r})" for key, (old, new) in other.items())
        flags = " ".join(f"--config.model.{key}={old}" for key, (old, _) in other.items())
        raise UserError(
            f"config.init_from={path}: the file, or the config.json beside it, says {differences}; "
            f"set {flags}, or the weights would mean something else"
        )


def _check_windows(source: nn.Module, model: nn.Module, path: Path) -> None:
    """Rejects weights of a Swin that was trained with other windows and shifts than the model has."""
    theirs = getattr(source, "timm_windows", None)
    # A segmenter or a detector pads its maps in one way only; what counts is that the weights were trained without any padding.
    same = source if of_any_size(model) else model
    if theirs is not None and theirs != model.timm_windows and not same.same_windows():
        raise UserError(
            f"config.init_from={path} was trained with the windows of {'timm' if theirs else 'the official code'}, which "
            f"are others at this image size: set --config.model.timm_windows={theirs}"
        )
    before, now = (getattr(as_trained(each), "trained_windows", ()) for each in (source, model))
    if now and before != now:
        raise UserError(f'config.init_from={path} has other windows: set --config.model.trained_windows="{before}"')


def _check_vocabulary(source: _Weights, run: Run, path: Path) -> None:
    """Rejects weights for another number of tokens; the message names the remedy."""
    source_tokens, run_tokens = (getattr(model, "vocab_size", None) for model in (source.model, run.model))
    if None not in (source_tokens, run_tokens) and source_tokens != run_tokens:
        raise UserError(
            f"config.init_from={path} has {source_tokens:,} tokens, but the tokenizer of this run has {run_tokens:,}: "
            "set config.data.tokenizer to the tokenizer.json or vocab.txt that belongs to the weights"
        )


def _tokenizer_beside(folder: Path, run: Run) -> str:
    """The remark of `check_tokenizer` on the tokenizer beside weights; "" if the run has another one."""
    file, taken = tokenizer_beside(folder), run.pipeline.reader.record.get("tokenizer")
    if file is None or not taken:
        return ""
    ways = (load_vocabulary(str(file), lowercase) for lowercase in (False, True))
    vocab = next((vocab for vocab in ways if vocab.to_json() == taken), None)
    return "" if vocab is None else check_tokenizer(file, vocab)


def _check_tokenizer(there: Path, run: Run) -> None:
    """Rejects weights whose token ids mean other words."""
    tokenizer = run.pipeline.reader.record.get("tokenizer")
    if tokenizer and there.is_file() and there.read_text(encoding="utf-8") != tokenizer:
        raise UserError(
            f"config.data.tokenizer differs from the tokenizer of the run that config.init_from takes weights from: "
            f"token ids would mean other words; leave it empty, or set it to {there}"
        )
