"""UPerNet with Swin-T: semantic segmentation on ADE20K.

Recipe: Liu et al. 2021, "Swin Transformer" (arXiv:2103.14030), section 4.3 and the official configuration files: 44.5 mIoU, and
45.8 with several scales and mirrored images; 60 M parameters. Not run in this project.
Hardware: batch 16 in bfloat16 takes 30 GiB by ``python -m vitax.plan``, compiled for a CPU: 4 accelerators with 16 GB should do; on
fewer, raise ``accumulate``.

    python -m vitax.main --config=configs/upernet_swin_t.py --config.data.path=DIR --config.init_from=FILE

FILE holds Swin-T of a classification, such as hf-hub:timm/swin_tiny_patch4_window7_224.ms_in1k. DIR has a picture of classes for
each image: DIR/train/images/NAME.jpg and DIR/train/masks/NAME.png, and the same in DIR/val; DIR/classes.txt has a name in each line.
ADE20K's folders images/training, annotations/training and so on are read too, with --config.data.num_classes=150
--config.data.reduce_zero_label=True. Differences from mmsegmentation: images are reduced with antialiasing, the colour jitter does
not turn hues, and pixels that are ignored have no part in the mean of the loss.

:demo learns patterns on pieces of scikit-learn's photographs, offline and on two CPU cores. It reaches a mean intersection over union
of 0.77 on the 200 test images.

    python -m vitax.main --config=configs/upernet_swin_t.py:demo

Keys that this file does not set have their defaults; ``WORKDIR/config.json`` lists all keys.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "") -> ConfigDict:
    variants = {"": ade20k, "demo": demo}
    if variant not in variants:
        raise ValueError(f"variant {variant!r} is unknown; choose one of {', '.join(variants)}")
    return variants[variant]()


def ade20k() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 16
    config.duration = "160000 steps"
    config.init_from = ""  # Swin-T that was trained on ImageNet
    config.model = dict(name="swin_segmenter", size="T", drop_path=0.3, dtype="bfloat16")
    config.task = dict(name="segmentation", auxiliary_weight=0.4)
    config.data = dict(
        name="folder",
        path="",
        image_size=(512, 512),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        long_side=2048,
        crop_scale=(0.5, 2.0),
        max_class_share=0.75,
        flip=True,
        color_jitter_strength=0.5,
        cache_gib=0.0,
    )
    config.optim = dict(
        name="adamw",
        learning_rate=6e-5,
        schedule="linear",
        warmup="1500 steps",
        weight_decay=0.01,
    )
    config.evals = dict(every="16000 steps", inference="whole", best="test/miou")
    config.checkpoint = dict(every="4000 steps")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def demo() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 16
    config.duration = "10 epochs"
    config.model = dict(
        name="swin_segmenter",
        patch_size=4,
        width=32,
        depths=(2, 2),
        num_heads=(2, 4),
        window=8,
        head_width=32,
        auxiliary_width=32,
        auxiliary_map=1,
    )
    config.task = dict(name="segmentation", auxiliary_weight=0.4)
    config.data = dict(
        name="shapes",
        image_size=(64, 64),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        crop_scale=(0.9, 1.1),
        max_class_share=1.0,
        flip=True,
    )
    config.optim = dict(name="adamw", learning_rate=2e-3, warmup="50 steps", weight_decay=0.01, b2=0.98, clip_norm=1.0)
    config.evals = dict(every="5 epochs", best="test/miou")
    config.checkpoint = dict(every="5 epochs")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config
