"""Pipelines from files to batches, with one module for each kind of data; KINDS lists them. They use NumPy only."""

from vitax.pipelines.bitext import BITEXT
from vitax.pipelines.boxes import BOXES
from vitax.pipelines.captions import CAPTIONS
from vitax.pipelines.images import IMAGES
from vitax.pipelines.masks import MASKS
from vitax.pipelines.pipeline import Kind, Pipeline, Reader
from vitax.pipelines.restoration import RESTORATION
from vitax.pipelines.sentences import SENTENCES
from vitax.pipelines.targets import LABELS, TEXT_LABELS, TEXT_VALUES, VALUES
from vitax.pipelines.texts import TEXT

KINDS: dict[str, Kind] = {
    "images": IMAGES,
    "labels": LABELS,
    "values": VALUES,
    "masks": MASKS,
    "boxes": BOXES,
    "captions": CAPTIONS,
    "texts": TEXT,
    "sentences": SENTENCES,
    "text_labels": TEXT_LABELS,
    "text_values": TEXT_VALUES,
    "bitext": BITEXT,
    "restoration": RESTORATION,
}

__all__ = ["KINDS", "Kind", "Pipeline", "Reader"]
