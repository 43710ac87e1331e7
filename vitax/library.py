"""vitax in Python: a model with its weights, ready for images or texts. ``vitax.load`` opens one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import numpy as np

from vitax.errors import UserError
from vitax.mesh import make_mesh
from vitax.monitoring.log import silence_libraries
from vitax.prediction import TrainedRun, check_options, load_run, predictor_of
from vitax.prediction.features import ENCODERS
from vitax.prediction.images import image_files, image_readers
from vitax.prediction.texts import encoded
from vitax.prediction.trained import batch_size_for, predictions
from vitax.runs.foreign import TEXT_FEATURES, open_foreign
from vitax.specs import TextSpec
from vitax.tasks import Variables


class Model:
    """A trained model: call it with images or texts.

    Attributes:
        run: the model, its weights, its preprocessing, and what it was trained for.
        report: how its weights were loaded; "" for the folder of a run.
    """

    def __init__(self, run: TrainedRun, report: str = ""):
        self.run, self.report = run, report

    @property
    def module(self) -> nn.Module:
        """The Flax module: ``module.apply(variables, ...)``."""
        return self.run.model

    @property
    def variables(self) -> Variables:
        """Its variables; averaged parameters, if the run kept them."""
        return self.run.variables

    @property
    def class_names(self) -> list[str]:
        """Names of the classes; empty if it has none."""
        return list(self.run.reader.record.get("class_names", ()))

    def __repr__(self) -> str:
        return f"{type(self.module).__name__} for {self.run.task_name}, {len(self.class_names)} classes"

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """The prediction for one input, or a list of predictions for a list.

        Args:
            inputs: an image or a text, or a list of them. An image is the path of a file, an array [H, W, C] uint8, or
                an image of Pillow; a folder stands for its images. A text is a string.
            options: those of the command line: top, labels, tile.

        Returns:
            A dictionary for each input: "label", "probability" and "top"; or "image", "translation", "continuation",
            "filled", by what the model was trained for.

        Raises:
            UserError: an input that cannot be read, or an option that has no meaning for this model.
        """
        if self.run.task_name == TEXT_FEATURES:
            raise UserError("this encoder of texts predicts nothing: use model.features(texts), or fine-tune it")
        check_options(self.run, options)
        items, single = self._items(inputs)
        return _result(list(predictor_of(self.run.task_name).predict(self.run, items, **options)), single)

    def features(self, inputs: Any) -> np.ndarray:
        """The features that the head reads: [D] for one image or text, [n, D] for a list or a folder.

        Raises:
            UserError: an input that cannot be read, or a model without features.
        """
        items, single = self._items(inputs)
        if not isinstance(self.run.reader.spec, TextSpec):
            examples = image_readers(items, self.run)
        else:
            if self.run.task_name not in ENCODERS:
                raise UserError(f"a model for {self.run.task_name} has no features of a text")
            examples = encoded(items, ENCODERS[self.run.task_name](self.run))
        rows = []
        for name, example, row in predictions(self.run, examples):
            if row is None:
                raise UserError(f"{name}: {example}")
            if "features" not in row:
                raise UserError(f"a model for {self.run.task_name} has no features")
            rows.append(row["features"])
        return rows[0] if single else np.stack(rows)

    def explain(self, inputs: Any, *, method: str | Sequence[str] = (), **options: Any) -> Any:
        """Explains the class of one image or text, or of each of a list: the parts that speak for it.

        Args:
            inputs: as for a prediction.
            method: one or several of `vitax.explain.methods.METHODS`, or "all"; for images also "heads"; for boxes
                "attention"; () = those that suit the model, relevance first.
            options: label, the class to explain (the most probable one by default); labels; top; region, of masks and boxes.

        Returns:
            For each image a `vitax.explanation.images.ImageExplanation`; for each text a dictionary.

        Raises:
            UserError: an input that cannot be read, or a method that has no meaning for this model.
        """
        from vitax.explanation import explained  # matplotlib: not for those who only predict

        items, single = self._items(inputs)
        methods = (method,) if isinstance(method, str) else tuple(method)
        return _result(explained(self.run, items, method=methods, **options), single)

    def _items(self, inputs: Any) -> tuple[list[Any], bool]:
        """The inputs as a list, and whether it was one."""
        single = not isinstance(inputs, list | tuple)
        items = [inputs] if single else list(inputs)
        if self.run.task_name == TEXT_FEATURES or predictor_of(self.run.task_name).inputs is not image_files:
            return items, single
        folder = single and isinstance(inputs, str | Path) and Path(inputs).expanduser().is_dir()
        paths = [item for item in items if isinstance(item, str | Path)]
        if paths and len(paths) == len(items):
            items = image_files([str(Path(path).expanduser()) for path in paths])
        return items, single and not folder


def _result(rows: list[Any], single: bool) -> Any:
    """The rows, or the only one; an error raises."""
    for row in rows:
        if isinstance(row, dict) and "error" in row:
            raise UserError(f"{row.get('file', row.get('text', 'input'))}: {row['error']}")
    return rows[0] if single else rows


def load(path: str | Path, *, checkpoint: str = "best", **fields: Any) -> Model:
    """A model with its weights.

    Args:
        path: the folder of a run; or a file of another project's weights, or a folder as a model hub has it.
        checkpoint: of a run: "best", "last", "average", or a step.
        fields: of another project's model, where its file does not tell them: image_size, num_classes, activation, ...;
            and of its preprocessing: mean, std, test_crop_fraction, interpolation, class_names; for texts length,
            tokenizer, lowercase.

    Raises:
        UserError: it cannot be read, or something that changes its results is unknown.
    """
    silence_libraries()
    if (Path(path).expanduser() / "checkpoints").is_dir():
        if fields:
            raise UserError(f"{sorted(fields)[0]} is that of the run in {path}: it cannot be chosen here")
        return Model(load_run(path, checkpoint))
    opened, mesh = open_foreign(path, **fields), make_mesh()
    run = TrainedRun(
        path=Path(path),
        config={},
        mesh=mesh,
        reader=opened.reader,
        family=opened.family,
        model=opened.model,
        task_name=opened.task_name,
        task=opened.task,
        variables=opened.variables,
        batch_size=batch_size_for(mesh),
    )
    return Model(run, opened.report)
