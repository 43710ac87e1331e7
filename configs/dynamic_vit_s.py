"""DynamicViT-S with ratio 0.7: DeiT-S that learns which tokens it can do without, on ImageNet-1k.

Recipe: Rao et al. 2021, "DynamicViT" (arXiv:2106.02034), section 4 and the official code: 79.3 % top-1 at 2.9 GMACs,
from DeiT-S with 79.8 % at 4.6 GMACs. Not run in this project. Difference from the original: the backbone is not
frozen for the first five epochs.
Hardware: batch 1024 in bfloat16 needs 8 accelerators with 16 GB or more; on fewer, raise ``accumulate``.

    python -m vitax.main --config=configs/dynamic_vit_s.py --config.init_from=deit_small_patch16_224.pth

The weights that it starts from are also its teacher; a run of ``vit`` with a class token can be used as well.

:demo prunes a small ViT that was trained on scikit-learn's 8x8 handwritten digits, offline and on two CPU cores. It
reaches an accuracy of 0.96 both pruned and dense, from a teacher with 0.96.

    python -m vitax.main --config=configs/vit_l16.py:demo --workdir=runs/dense
    python -m vitax.main --config=configs/dynamic_vit_s.py:demo --config.init_from=runs/dense

:small trains on a folder of small labelled colour images, starting from a run of ``vit_b16.py:small`` on the same
images. On re-encoded CIFAR-10 one epoch gives an accuracy of 0.532 pruned and 0.551 dense, from a teacher with 0.540.
The pruned model processes 1.21, 1.40 and 1.63 times as many images per second as the dense model at batch 1, 8 and 64
(two CPU cores).

    python -m vitax.main --config=configs/vit_b16.py:small --config.data.path=DIR --workdir=runs/dense
    python -m vitax.main --config=configs/dynamic_vit_s.py:small --config.data.path=DIR --config.init_from=runs/dense

Keys that this file does not set have their defaults; ``WORKDIR/config.json`` lists all keys.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "") -> ConfigDict:
    variants = {"": imagenet, "demo": demo, "small": small}
    if variant not in variants:
        raise ValueError(f"variant {variant!r} is unknown; choose one of {', '.join(variants)}")
    return variants[variant]()


def imagenet() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 1024
    config.duration = "30 epochs"
    config.init_from = ""  # the folder of the pre-training run, or a file of weights
    config.model = dict(name="dynamic_vit", size="S", keep_ratios=(0.7, 0.49, 0.343), dtype="bfloat16")
    config.task = dict(
        name="token_pruning",
        label_smoothing=0.1,
        mixup=0.8,
        cutmix=1.0,
        ratio_weight=2.0,
        logit_weight=0.5,
        token_weight=0.5,
    )
    config.data = dict(
        name="imagenet2012",  # or "folder", with a path
        path="",  # empty: TFDS's own folder, ~/tensorflow_datasets
        train="train",
        test="validation",
        image_size=(224, 224),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        crop="random_resized",
        flip=True,
        randaugment_layers=2,
        randaugment_magnitude=9.0,
        erasing=0.25,
        test_crop_fraction=0.875,
        cache_gib=0.0,
    )
    config.optim = dict(
        name="adamw",
        learning_rate=1e-3,
        final_learning_rate=1e-6,
        warmup="5 epochs",
        weight_decay=0.05,
        ema_decay=0.9999,
        lr_factors={r"^(?!predictor)": 0.01},
        freeze=(r"^(cls_token|pos_embed)",),
    )
    config.evals = dict(every="1 epoch", best="test_ema/accuracy", throughput=(1, 8, 64))
    config.checkpoint = dict(every="1 epoch")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def demo() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 32
    config.duration = "30 epochs"
    config.init_from = ""  # the folder of the pre-training run, or a file of weights
    config.model = dict(
        name="dynamic_vit",
        patch_size=2,
        width=64,
        depth=8,
        num_heads=4,
        mlp_width=256,
        stages=(2, 4, 6),
        keep_ratios=(0.7, 0.49, 0.343),
    )
    config.task = dict(name="token_pruning", ratio_weight=2.0, logit_weight=0.5, token_weight=0.5)
    config.data = dict(
        name="digits",
        image_size=(8, 8),
        channels=1,
        mean=(0.5,),
        std=(0.5,),
        crop="random_resized",
        crop_scale=(0.6, 1.0),
        flip=False,  # a mirrored 2 is not a 2
        test_crop_fraction=1.0,
    )
    config.optim = dict(
        name="adamw",
        learning_rate=2e-3,
        warmup="3 epochs",
        weight_decay=0.05,
        lr_factors={r"^(?!predictor)": 0.2},
        clip_norm=1.0,
    )
    config.evals = dict(every="10 epochs", best="test/accuracy", throughput=(1, 8, 64))
    config.checkpoint = dict(every="10 epochs")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def small() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 128
    config.duration = "1 epoch"
    config.init_from = ""  # the folder of the pre-training run, or a file of weights
    config.model = dict(
        name="dynamic_vit",
        patch_size=4,
        width=128,
        depth=6,
        num_heads=4,
        mlp_width=256,
        stages=(1, 3, 4),
        keep_ratios=(0.7, 0.49, 0.343),
    )
    config.task = dict(name="token_pruning", ratio_weight=2.0, logit_weight=0.5, token_weight=0.5)
    config.data = dict(
        name="folder",
        path="",
        image_size=(32, 32),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        crop="pad",
        crop_padding=4,
        flip=True,
        test_crop_fraction=1.0,
    )
    config.optim = dict(
        name="adamw",
        learning_rate=1e-3,
        warmup="50 steps",
        weight_decay=0.05,
        lr_factors={r"^(?!predictor)": 0.2},
        clip_norm=1.0,
    )
    config.evals = dict(every="1 epoch", batch_size=500, best="test/accuracy", throughput=(1, 8, 64))
    config.checkpoint = dict(every="1 epoch")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config
