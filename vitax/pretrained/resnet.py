"""ResNet as torchvision and timm name it, and as Hugging Face does."""

from collections.abc import Sequence
from typing import Any

from vitax.errors import UserError
from vitax.models.resnet import ResNet
from vitax.pretrained import rules as r
from vitax.pretrained.format import Fields, Format, Tensors, count, has
from vitax.pretrained.rules import Rules

BEYOND = "vitax has ResNet with bottlenecks of 1x1, 3x3, 1x1 convolutions and a stem of one 7x7 (50, 101, 152)"


def stages(theirs: str, ours: str, depths: Sequence[int]) -> Rules:
    """Rules for the bottlenecks, with the names of torchvision; both prefixes may be empty."""
    rules: Rules = []
    for stage, depth in enumerate(depths):
        for j in range(depth):
            before, after = f"{theirs}layer{stage + 1}.{j}", f"{ours}stage{stage}_block{j}"
            for i in (1, 2, 3):
                rules += r.convolution(f"{before}.conv{i}", f"{after}/conv{i}", bias=False)
                rules += r.batch_norm(f"{before}.bn{i}", f"{after}/norm{i}")
            if not j:
                rules += r.convolution(f"{before}.downsample.0", f"{after}/shortcut", bias=False)
                rules += r.batch_norm(f"{before}.downsample.1", f"{after}/shortcut_norm")
    return rules


def torchvision_backbone(model: ResNet, before: str = "") -> Rules:
    """Rules for all but the head, with the names of torchvision."""
    stem = r.convolution(f"{before}conv1", "stem", bias=False) + r.batch_norm(f"{before}bn1", "stem_norm")
    return stem + stages(before, "", model.depths)


def hugging_face_backbone(model: ResNet, before: str) -> Rules:
    """Rules for all but the head, with Hugging Face's names."""

    def layer(theirs: str, conv: str, norm: str) -> Rules:
        rules = r.convolution(f"{before}{theirs}.convolution", conv, bias=False)
        return rules + r.batch_norm(f"{before}{theirs}.normalization", norm)

    rules = layer("embedder.embedder", "stem", "stem_norm")
    for stage, depth in enumerate(model.depths):
        for j in range(depth):
            theirs, ours = f"encoder.stages.{stage}.layers.{j}", f"stage{stage}_block{j}"
            for i in range(3):
                rules += layer(f"{theirs}.layer.{i}", f"{ours}/conv{i + 1}", f"{ours}/norm{i + 1}")
            if not j:
                rules += layer(f"{theirs}.shortcut", f"{ours}/shortcut", f"{ours}/shortcut_norm")
    return rules


def torchvision_fields(tensors: Tensors, before: str = "") -> dict[str, Any]:
    """Fields of the backbone, derived from tensors with the names of torchvision.

    Raises:
        UserError: it is another kind of ResNet.
    """
    stem = tensors[f"{before}conv1.weight"]
    if f"{before}layer1.0.conv3.weight" not in tensors or stem.shape[2:] != (7, 7):
        raise UserError(f"the file holds another ResNet; {BEYOND}")
    depths = [
        count(tensors, rf"{before}layer{stage + 1}\.(\d+)\.".replace(".layer", r"\.layer"))
        for stage in range(count(_from_zero(tensors, before), r"(\d+)\."))
    ]
    return _checked(dict(width=len(stem), depths=tuple(depths)), tensors[f"{before}layer1.0.conv2.weight"])


def _from_zero(tensors: Tensors, before: str) -> list[str]:
    """The numbers of the stages, "0." for layer1, and so on."""
    start = f"{before}layer"
    numbers = {name.removeprefix(start).partition(".")[0] for name in tensors if name.startswith(start)}
    return [f"{int(number) - 1}." for number in numbers if number.isdigit()]


def hugging_face_fields(tensors: Tensors, before: str) -> dict[str, Any]:
    """Fields of the backbone, derived from Hugging Face's tensors.

    Raises:
        UserError: it is another kind of ResNet.
    """
    stem, blocks = tensors[f"{before}embedder.embedder.convolution.weight"], f"{before}encoder.stages."
    if f"{blocks}0.layers.0.layer.2.convolution.weight" not in tensors or stem.shape[2:] != (7, 7):
        raise UserError(f"the file holds another ResNet; {BEYOND}")
    names = [name.removeprefix(blocks) for name in tensors if name.startswith(blocks)]
    depths = [count(names, rf"{stage}\.layers\.(\d+)\.") for stage in range(count(names, r"(\d+)\."))]
    fields = dict(width=len(stem), depths=tuple(depths))
    return _checked(fields, tensors[f"{blocks}0.layers.0.layer.1.convolution.weight"])


def _checked(fields: dict[str, Any], middle: Any) -> dict[str, Any]:
    """The fields, if the 3x3 convolution of the first bottleneck has the width of the stem, and no groups."""
    if middle.shape[:2] != (fields["width"], fields["width"]):
        raise UserError(f"the file holds a ResNet with wider bottlenecks, or with groups; {BEYOND}")
    return fields


def _classifier(tensors: Tensors, name: str) -> dict[str, int]:
    return {"num_classes": len(tensors[f"{name}.weight"]) if f"{name}.weight" in tensors else 0}


def _torchvision(tensors: Tensors, given: Fields) -> dict[str, Any]:
    return torchvision_fields(tensors) | _classifier(tensors, "fc")


def _hugging_face(tensors: Tensors, given: Fields) -> dict[str, Any]:
    return hugging_face_fields(tensors, "resnet.") | _classifier(tensors, "classifier.1")


FORMATS = (
    Format(
        "timm ResNet",
        "resnet",
        has("conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "layer4.0.conv1.weight"),
        _torchvision,
        lambda model: torchvision_backbone(model) + (r.linear("fc", "head") if model.num_classes else []),
    ),
    Format(
        "Hugging Face ResNet",
        "resnet",
        has("resnet.embedder.embedder.convolution.weight"),
        _hugging_face,
        lambda model: (
            hugging_face_backbone(model, "resnet.") + (r.linear("classifier.1", "head") if model.num_classes else [])
        ),
    ),
)
