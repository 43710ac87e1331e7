"""FNet for images: Fourier transforms mix the patches in place of attention, on ImageNet-1k.

The blocks are those of Lee-Thorp et al. 2021, "FNet" (arXiv:2105.03824); the paper has no images, and therefore no
figure. The recipe is that of ``vit_b16.py``, at the same size. Not run in this project.

    python -m vitax.main --config=configs/fnet_image.py
    python -m vitax.main --config=configs/fnet_image.py --config.data.name=folder --config.data.path=DIR

:demo trains a small version of the same model on scikit-learn's 8x8 handwritten digits, offline and on two CPU cores.
It reaches an accuracy of 0.97 on the 359 test digits.

    python -m vitax.main --config=configs/fnet_image.py:demo

:small trains a small model from scratch on a folder of small colour images, on a laptop. On re-encoded CIFAR-10 it
reaches an accuracy of 0.506 after 3 epochs, which take 13 minutes on two CPU cores.

    python -m vitax.main --config=configs/fnet_image.py:small --config.data.path=DIR

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
    config.batch_size = 4096
    config.duration = "300 epochs"
    config.model = dict(name="fnet_image", patch_size=16, dtype="bfloat16")
    config.task = dict(name="classification", label_smoothing=0.1, mixup=0.8, cutmix=1.0)
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
        test_crop_fraction=0.875,
        cache_gib=0.0,
    )
    config.optim = dict(
        name="adamw",
        learning_rate=1e-4,
        lr_scaling="linear",  # x batch / 256: the peak is 1.6e-3
        warmup="20 epochs",
        weight_decay=0.3,
        b2=0.95,
        clip_norm=1.0,
    )
    config.evals = dict(every="5 epochs", batch_size=2048, best="test/accuracy")
    config.checkpoint = dict(every="1 epoch")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def demo() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 32
    config.duration = "120 epochs"
    config.model = dict(name="fnet_image", patch_size=2, width=64, depth=4, mlp_width=256, dropout=0.1)
    config.task = dict(name="classification", label_smoothing=0.1)
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
    config.optim = dict(name="adamw", learning_rate=2e-3, warmup="10 epochs", weight_decay=0.3, b2=0.95, clip_norm=1.0)
    config.evals = dict(every="20 epochs", best="test/accuracy")
    config.checkpoint = dict(every="20 epochs")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def small() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 128
    config.duration = "3 epochs"
    config.model = dict(name="fnet_image", patch_size=4, width=128, depth=6, mlp_width=512)
    config.task = dict(name="classification", label_smoothing=0.1)
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
    config.optim = dict(name="adamw", learning_rate=1e-3, warmup="200 steps", weight_decay=0.05, b2=0.95, clip_norm=1.0)
    config.evals = dict(every="1 epoch", batch_size=500, best="test/accuracy")
    config.checkpoint = dict(every="1 epoch")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config
