"""Reads tests/golden: what other people's code computed from the same weights."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FOLDER = Path(__file__).parent / "golden"


class Case(NamedTuple):
    weights: dict[str, np.ndarray]
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    config: dict[str, Any]

    def check(self, name, value):
        """Within ten times the rounding error of the official code itself, or 1e-6 of the standard deviation; a single
        number within two units of its last place."""
        expected = self.outputs[name]
        value = np.asarray(value, np.float64)
        assert value.shape == expected.shape, f"{name}: {value.shape} is not {expected.shape}"
        accuracy = self.config["accuracy"].get(name, {"fp32_minus_fp64_maxabs": 0.0})
        allowed = max(10 * accuracy["fp32_minus_fp64_maxabs"], 1e-6 * expected.std())
        if not expected.shape:
            allowed = max(allowed, 2 * np.spacing(np.float32(np.abs(expected))))
        error = np.abs(value - expected).max()
        assert error <= allowed, f"{name}: {error:.2e} exceeds {allowed:.2e}"


def case(name):
    data = np.load(FOLDER / f"{name}.npz", allow_pickle=False)
    parts = [
        {key.removeprefix(prefix): data[key] for key in data.files if key.startswith(prefix)}
        for prefix in ("w/", "in/", "out/")
    ]
    return Case(*parts, json.loads(str(data["config"])))


def nhwc(x):
    return np.transpose(x, (0, 2, 3, 1))


def nchw(x):
    return np.transpose(x, (0, 3, 1, 2))
