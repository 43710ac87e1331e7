"""Operations on batches of images inside the jitted step, as pure functions: resizing, normalisation, mixup and CutMix.

Mixup and CutMix mix each image with its neighbour in the batch. Batches are shuffled, so the neighbour is a random
other image, and only one row per device has to be sent to another device.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

# Kernels of Pillow's resizing: distance in output pixels, or in input pixels if the image grows, -> weight before scaling.
KERNELS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "bilinear": lambda x: jnp.maximum(1 - x, 0),
    "bicubic": lambda x: jnp.where(
        x < 1, (1.5 * x - 2.5) * x * x + 1, jnp.where(x < 2, ((-0.5 * x + 2.5) * x - 4) * x + 2, 0)
    ),
}


def resize_crops(
    images: jax.Array, crop_size: jax.Array, mirrored: jax.Array, size: tuple[int, int], interpolation: str
) -> jax.Array:
    """Resizes crops of different sizes to one size with antialiasing, as Pillow does, by two products of matrices.

    The width is resized first, and values are rounded after each product. Pillow does the same, but for its weights, which
    are rounded too, and for its order: from version 13 on, it resizes the height of some crops first, which moves values at sharp
    edges.

    Args:
        images: [B, H, W, C] uint8, with each crop at the top left.
        crop_size: [B, 2] int, the height and width of each crop in pixels; (0, 0) = no crop, which becomes black.
        mirrored: [B] bool, whether a crop is mirrored left to right.
        size: height and width (h, w) of the results.
        interpolation: a key of KERNELS.

    Returns:
        [B, h, w, C] uint8.

    Raises:
        ValueError: ``interpolation`` is unknown.
    """
    if interpolation not in KERNELS:
        raise ValueError(
            f"interpolation={interpolation!r} cannot be done on the device; choose one of {', '.join(KERNELS)}"
        )
    kernel = KERNELS[interpolation]
    rows = _resizing(crop_size[:, 0], size[0], images.shape[1], kernel)
    columns = _resizing(crop_size[:, 1], size[1], images.shape[2], kernel)
    columns = jnp.where(mirrored[:, None, None], columns[:, ::-1], columns)
    product = lambda spec, *of: jnp.round(jnp.einsum(spec, *of, precision=jax.lax.Precision.HIGH)).clip(0, 255)
    wide = product("bwx,byxc->bywc", columns, images.astype(jnp.float32))
    return product("bhy,bywc->bhwc", rows, wide).astype(jnp.uint8)


def _resizing(length: jax.Array, outputs: int, inputs: int, kernel: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """The matrices [B, outputs, inputs] that resize the first ``length`` [B] values of rows; the others have no weight."""
    length = length[:, None, None]
    scale = length / outputs
    centre = (jnp.arange(outputs)[None, :, None] + 0.5) * scale  # [B, outputs, 1]
    places = jnp.arange(inputs)[None, None, :] + 0.5
    weights = kernel(jnp.abs(places - centre) / jnp.maximum(scale, 1)) * (places < length)
    return weights / jnp.maximum(weights.sum(-1, keepdims=True), 1e-9)


def normalize(images: jax.Array, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    """``(images / 255 - mean) / std``: images are sent to the device as bytes and become floats there.

    Args:
        images: [B, H, W, C] uint8, or float on the scale 0..255.
        mean, std: C numbers on the scale 0..1.

    Returns:
        [B, H, W, C] float32.

    Raises:
        ValueError: images with another number of channels.
    """
    if images.shape[-1] != len(mean):
        raise ValueError(f"images have {images.shape[-1]} channels, mean has {len(mean)}")
    offset, scale = (jnp.asarray(x, jnp.float32).reshape(1, 1, 1, -1) for x in (mean, std))
    return (images.astype(jnp.float32) / 255 - offset) / scale


def to_bytes(images: jax.Array, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    """The inverse of `normalize`: [B, H, W, C] float to uint8, rounded and clipped."""
    return jnp.round(to_values(images, mean, std)).clip(0, 255).astype(jnp.uint8)


def to_values(images: jax.Array, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    """The inverse of `normalize`: [B, H, W, C] float on the scale 0..255."""
    offset, scale = (jnp.asarray(x, jnp.float32).reshape(1, 1, 1, -1) for x in (mean, std))
    return (images * scale + offset) * 255


def mixup(key: jax.Array, images: jax.Array, labels: jax.Array, alpha: float) -> tuple[jax.Array, jax.Array]:
    """Blends images and labels with one weight for the batch (Zhang et al. 2017, arXiv:1710.09412).

    Args:
        key: random key.
        images: [B, H, W, C] float.
        labels: [B, K] probabilities.
        alpha: > 0; the weight is drawn from Beta(alpha, alpha).

    Returns:
        Mixed images and labels, shapes unchanged.
    """
    weight = jax.random.beta(key, alpha, alpha)
    mixed = weight * images + (1 - weight) * jnp.roll(images, 1, axis=0)
    return mixed.astype(images.dtype), weight * labels + (1 - weight) * jnp.roll(labels, 1, axis=0)


def cutmix(key: jax.Array, images: jax.Array, labels: jax.Array, alpha: float) -> tuple[jax.Array, jax.Array]:
    """Pastes one random box of the neighbour into each image (Yun et al. 2019, arXiv:1905.04899).

    The box has the image's aspect ratio and a uniformly random centre. The weight of the image's own label is the share
    of pixels that really stay, since the box is clipped at the border.

    Arguments and results are those of `mixup`: images [B, H, W, C] and labels [B, K]. The share of the area outside the
    box is drawn from Beta(alpha, alpha).
    """
    height, width = images.shape[1:3]
    area_key, y_key, x_key = jax.random.split(key, 3)
    side = jnp.sqrt(1 - jax.random.beta(area_key, alpha, alpha))  # side of the box, relative to the image

    def covered(key: jax.Array, size: int) -> jax.Array:  # [size] bool, the box along one axis
        half = jnp.floor(side * size / 2)
        centre = jax.random.randint(key, (), 0, size)
        position = jnp.arange(size)
        return (position >= centre - half) & (position < centre + half)

    box = covered(y_key, height)[:, None] & covered(x_key, width)[None, :]  # [H, W]
    mixed = jnp.where(box[None, :, :, None], jnp.roll(images, 1, axis=0), images)
    weight = 1 - box.mean(dtype=jnp.float32)
    return mixed, weight * labels + (1 - weight) * jnp.roll(labels, 1, axis=0)


def mixup_or_cutmix(
    key: jax.Array, images: jax.Array, labels: jax.Array, valid: jax.Array, mixup_alpha: float, cutmix_alpha: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Applies `mixup` or `cutmix` to the batch, with equal probability if both alphas are above 0.

    Args:
        key: random key.
        images: [B, H, W, C] uint8 or float.
        labels: [B, K] probabilities.
        valid: [B] bool, False for unreadable images.
        mixup_alpha: alpha of `mixup`; 0 = no mixup.
        cutmix_alpha: alpha of `cutmix`; 0 = no CutMix.

    Returns:
        Images (float32 if they were mixed), labels, and [B] bool: a mixture that contains an invalid image is invalid.
    """
    if not mixup_alpha and not cutmix_alpha:
        return images, labels, valid
    images = images.astype(jnp.float32)
    choice_key, key = jax.random.split(key)
    # With one alpha, the choice is made before tracing: nothing is compiled for the other.
    blend = lambda: mixup(key, images, labels, mixup_alpha)
    paste = lambda: cutmix(key, images, labels, cutmix_alpha)
    if mixup_alpha and cutmix_alpha:
        images, labels = jax.lax.cond(jax.random.bernoulli(choice_key), blend, paste)
    else:
        images, labels = blend() if mixup_alpha else paste()
    return images, labels, valid & jnp.roll(valid, 1)
