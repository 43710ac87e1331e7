"""Restoration of whole images, measured as in papers on super-resolution."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import correlate1d

from vitax.data.degrade import degrade, enlarge
from vitax.evals.evaluation import Evaluation, Given
from vitax.models.swinir import restore_tiled
from vitax.tasks import Variables

LOGGER = logging.getLogger("vitax")
MEASURES = ("psnr", "psnr_y", "ssim_y")


def whole_images(given: Given, *, tile: int = 64, overlap: int = 16, images: int = 100) -> Evaluation | None:
    """Restores whole images of the test split, tile by tile.

    Measures the means of "psnr" (all channels), "psnr_y" and "ssim_y" (luma), and the same metrics with "_input" for a
    baseline: the damaged image, enlarged bicubically if it is smaller. In super-resolution, a border of ``scale``
    pixels does not count.

    Args:
        tile: side of a tile in pixels of the damaged image, a multiple of the model's window; a smaller image is one
            tile. 0 = off.
        overlap: number of pixels that neighbouring tiles share.
        images: maximum number of images; the first ones are used.

    Raises:
        ValueError: the tiles do not fit the model's windows, or ``images`` is below 1.
    """
    if not tile:
        return None
    model, settings, source = given.model, given.reader.transform.settings, given.splits.test
    if tile % model.window or not 0 <= overlap < tile:
        raise ValueError(
            f"tile={tile} must be a multiple of the model's window {model.window}, and overlap={overlap} must "
            f"lie in 0..{tile - 1}"
        )
    if images < 1:
        raise ValueError(f"images={images} must be at least 1")
    scale = settings["scale"]
    apply = jax.jit(model.apply)

    def run(variables: Variables) -> dict[str, float]:
        rows = []
        for i in range(min(images, len(source))):
            try:
                truth = modulo_crop(source[i]["image"], scale)
            except (ValueError, OSError) as error:
                LOGGER.warning("skipped %s: %s", source.name(i), error)
                continue
            rng = np.random.default_rng(i)
            strength = settings["strength"][0]
            damaged = degrade(truth, rng, kind=settings["kind"], scale=scale, strength=strength)
            restored = restore(lambda x: apply(variables, x), damaged, model, tile=tile, overlap=overlap)
            row = measure(restored, truth, scale if scale > 1 else 0)
            baseline = measure(enlarge(damaged, scale), truth, scale if scale > 1 else 0)
            rows.append(row | {f"{name}_input": value for name, value in baseline.items()})
        return {name: float(np.mean([row[name] for row in rows] or [np.nan])) for name in names}

    names = (*MEASURES, *(f"{name}_input" for name in MEASURES))
    return Evaluation(names, run)


def restore(apply, damaged: np.ndarray, model, *, tile: int, overlap: int) -> np.ndarray:
    """Restores an image [h, w, C] on 0..255 to [H, W, C] uint8.

    Args:
        apply: the model as a function of [B, h, w, C] images on 0..1.
        damaged: the damaged image.
        model: `vitax.models.swinir.SwinIR`.
        tile: side of a tile in pixels, a multiple of the model's window.
        overlap: number of pixels that neighbouring tiles share.
    """
    restored = restore_tiled(
        apply, jnp.asarray(damaged) / 255, scale=model.scale, tile=tile, overlap=overlap, window=model.window
    )
    return (np.asarray(restored) * 255).round().clip(0, 255).astype(np.uint8)


def modulo_crop(image: np.ndarray, scale: int) -> np.ndarray:
    """Crops the lower and right edges of an image [H, W, C] so that both sides are multiples of ``scale``."""
    height, width = (side // scale * scale for side in image.shape[:2])
    return image[:height, :width]


def measure(restored: np.ndarray, truth: np.ndarray, border: int) -> dict[str, float]:
    """The `MEASURES` of one image.

    Args:
        restored, truth: [H, W, C] on 0..255.
        border: number of pixels at each side that do not count.
    """
    restored = restored.round().clip(0, 255)
    height, width, _ = truth.shape
    inner = slice(border, height - border), slice(border, width - border)
    a, b = restored[inner].astype(np.float64), truth[inner].astype(np.float64)
    y_a, y_b = luma(a), luma(b)
    return {"psnr": psnr(a, b), "psnr_y": psnr(y_a, y_b), "ssim_y": ssim(y_a, y_b)}


def luma(image: np.ndarray) -> np.ndarray:
    """Luma [H, W] of [H, W, 3] on 0..255: Y of ITU-R BT.601 on 16..235, as in MATLAB's rgb2ycbcr; grey stays grey."""
    if image.shape[-1] == 1:
        return image[..., 0]
    return 16 + image @ np.array([65.481, 128.553, 24.966]) / 255


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two images [H, W, C] or [H, W] on 0..255; infinite if they are equal."""
    error = np.square(a - b).mean()
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004, IEEE TIP 13(4)).

    The Gaussian window has 11x11 pixels and a standard deviation of 1.5; only places where it is completely inside count.

    Args:
        a, b: [H, W] on 0..255, at least 11 pixels a side.

    Raises:
        ValueError: an image is smaller than the window.
    """
    if min(a.shape) < 11:
        raise ValueError(f"an image of {a.shape} is too small for windows of 11x11")
    at = np.arange(11) - 5
    window = np.exp(-(at**2) / (2 * 1.5**2))
    window /= window.sum()

    def blur(x: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(x, window, axis=0), window, axis=1)[5:-5, 5:-5]

    mean_a, mean_b = blur(a), blur(b)
    variance_a, variance_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    )
    return float(similarity.mean())
