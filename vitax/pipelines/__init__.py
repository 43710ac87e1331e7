"""From files to batches, one file for each kind of data; KINDS is the table. NumPy only."""

from vitax.pipelines.captions import CAPTIONS
from vitax.pipelines.images import IMAGES
from vitax.pipelines.pipeline import Kind, Pipeline, Reader

KINDS: dict[str, Kind] = {"images": IMAGES, "captions": CAPTIONS}

__all__ = ["KINDS", "Kind", "Pipeline", "Reader"]
