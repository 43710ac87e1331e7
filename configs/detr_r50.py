"""DETR with ResNet-50: detection of objects on COCO.

Recipe: Carion et al. 2020, "End-to-End Object Detection with Transformers" (arXiv:2005.12872), section 4 and table 1: 42.0 AP on
COCO's val2017 after 500 epochs, 16 GPUs with 4 images each; 41.6 M parameters, 53,120 of them in frozen norms. Not run in this project.
Hardware: batch 64 in bfloat16 takes 258 GiB by ``python -m vitax.plan``, compiled for a CPU: 8 accelerators with 40 GB should do; on
fewer, raise ``accumulate``.

    python -m vitax.main --config=configs/detr_r50.py --config.data.path=DIR --config.init_from=FILE

FILE holds ResNet-50 of a classification, such as hf-hub:timm/resnet50.tv_in1k, or a whole DETR, such as
hf-hub:facebook/detr-resnet-50, whose classes are then new. DIR has files in COCO's form: DIR/annotations/instances_train2017.json,
DIR/annotations/instances_val2017.json and the images in DIR/train2017 and DIR/val2017; or, as Roboflow exports them,
DIR/train/_annotations.coco.json beside the images, and the same in DIR/valid. Set ``data.max_objects`` and ``model.num_queries`` to
the greatest number of objects in an image, or more.

Differences from the official code: pictures are padded to a square of one size, not to the largest of a batch; half of the images are
cut by shares of their sides, not by pixels; the loss is a mean over the objects of a micro-batch.

:demo finds patterns on pieces of scikit-learn's photographs, offline and on two CPU cores. It reaches an AP50 of 0.65 on the 200
test images.

    python -m vitax.main --config=configs/detr_r50.py:demo

Keys that this file does not set have their defaults; ``WORKDIR/config.json`` lists all keys.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "") -> ConfigDict:
    variants = {"": coco, "demo": demo}
    if variant not in variants:
        raise ValueError(f"variant {variant!r} is unknown; choose one of {', '.join(variants)}")
    return variants[variant]()


def coco() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 64
    config.duration = "500 epochs"
    config.init_from = ""  # ResNet-50 that was trained on ImageNet
    config.model = dict(name="resnet_detector", size="R50", head_dropout=0.1, dtype="bfloat16")
    config.task = dict(name="detection", box_weight=5.0, giou_weight=2.0, no_object_weight=0.1)
    config.data = dict(
        name="coco",
        path="",
        image_size=(1333, 1333),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        short_side=800,
        short_sides=(480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800),
        crop_scale=(0.5, 1.0),
        flip=True,
        max_objects=100,
        cache_gib=0.0,
    )
    config.optim = dict(
        name="adamw",
        learning_rate=1e-4,
        lr_factors={r"^(?!detection_head)": 0.1},
        freeze=(r"^(stem|stage0)",),
        schedule="step",
        milestones=(0.8,),
        milestone_factor=0.1,
        weight_decay=1e-4,
        clip_norm=0.1,
    )
    config.evals = dict(every="10 epochs", best="test/ap")
    config.checkpoint = dict(every="1 epochs")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def demo() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 16
    config.duration = "20 epochs"
    config.model = dict(
        name="resnet_detector",
        depths=(1, 1, 1),
        width=16,
        frozen_norms=False,
        num_queries=10,
        head_width=96,
        encoder_depth=2,
        decoder_depth=3,
        head_heads=4,
        head_mlp_width=192,
        head_dropout=0.0,
    )
    config.task = dict(name="detection")
    config.data = dict(
        name="shapes",
        image_size=(64, 64),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        flip=True,
        max_objects=3,
    )
    config.optim = dict(name="adamw", learning_rate=7e-4, warmup="2 epochs", weight_decay=1e-4, clip_norm=0.1)
    config.evals = dict(every="5 epochs", best="test/ap50")
    config.checkpoint = dict(every="5 epochs")
    config.log = dict(every="100 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config
