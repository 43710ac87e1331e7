"""One of the two programs that `compare.py` lets take turns; not for hand use.

It builds its model, says "ready", and for each line on stdin runs so many steps and answers with their seconds.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from cases import CASES

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("side", choices=["ours", "eager", "compiled"])
parser.add_argument("case", choices=list(CASES))
parser.add_argument("--mode", choices=["forward", "train"], required=True)
parser.add_argument("--batch", type=int, required=True)
parser.add_argument("--dtype", choices=["float32", "bfloat16"], required=True)
parser.add_argument("--folder", type=Path, required=True)


def theirs(given: Any) -> Any:
    """PyTorch: forward without gradients, or forward, backward and AdamW."""
    import torch

    torch.manual_seed(0)
    case = CASES[given.case]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = case.make()
    weights = {name: x.detach().float().numpy() for name, x in model.state_dict().items()}
    np.savez(given.folder / "weights.npz", **weights)
    inputs = [torch.from_numpy(x) for x in case.inputs(given.batch)]
    with torch.no_grad():
        np.save(given.folder / "output.npy", case.output(model(*inputs)).float().numpy())
    model, inputs = model.to(device), [x.to(device) for x in inputs]
    run = torch.compile(model) if given.side == "compiled" else model
    half = torch.autocast(device, torch.bfloat16, enabled=given.dtype == "bfloat16")
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=0.05)

    def forward() -> None:
        with torch.no_grad(), half:
            case.output(run(*inputs))

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        with half:
            loss = case.output(run(*inputs)).float().square().mean()
        loss.backward()
        optimizer.step()

    step = forward if given.mode == "forward" else train

    def steps(count: int) -> None:
        for _ in range(count):
            step()
        if device == "cuda":
            torch.cuda.synchronize()

    return steps


def ours(given: Any) -> Any:
    """vitax: the same, from the same weights."""
    import jax
    import jax.numpy as jnp
    import optax
    from cases import apply_images

    from vitax import metrics, pretrained
    from vitax.tasks import Aux, Task
    from vitax.training.step import make_init, make_step

    case = CASES[given.case]
    apply = case.ours or apply_images
    stored = np.load(given.folder / "weights.npz")
    weights = {name: stored[name] for name in stored.files}
    model, variables, _ = pretrained.load(weights, **case.fields)
    inputs = [
        jnp.asarray(x.transpose(0, 2, 3, 1) if x.ndim == 4 else x.astype(np.int32))
        for x in case.inputs(given.batch)
    ]
    found = jax.jit(lambda v, x: apply(model, v, x, False, None))(variables, inputs)
    expected = np.load(given.folder / "output.npy")
    scale = float(np.abs(expected).max())
    error = float(np.abs(np.asarray(found) - expected).max()) / max(1.0, scale)
    model = model.clone(dtype=jnp.dtype(given.dtype).type)
    if given.mode == "forward":
        forward = (
            jax.jit(lambda v, x: apply(model, v, x, False, None)).lower(variables, inputs).compile()
        )

        def steps(count: int) -> None:
            for _ in range(count):
                out = forward(variables, inputs)
            jax.block_until_ready(out)

        return steps, error

    def loss(variables: Any, batch: Any, key: Any, train: bool) -> Any:
        rngs = {"dropout": key}
        out = apply(model, variables, batch["inputs"], train, rngs).astype(jnp.float32)
        value = jnp.square(out).mean()
        return value, Aux({"loss": metrics.masked(value[None], jnp.ones(1, bool))})

    task = Task(lambda key, batch: variables, loss, lambda variables, batch: {})
    optimizer = optax.adamw(1e-4, weight_decay=0.05)
    batch = {"inputs": inputs}
    state = jax.jit(make_init(task, optimizer, 0, ema=False))(batch)
    step = jax.jit(make_step(task, optimizer, 0), donate_argnums=0).lower(state, batch).compile()

    def steps(count: int) -> None:
        nonlocal state
        for _ in range(count):
            state, reported = step(state, batch)
        jax.block_until_ready(reported)

    return steps, error


def main() -> None:
    given = parser.parse_args()
    error = None
    if given.side == "ours":
        steps, error = ours(given)
    else:
        steps = theirs(given)
    steps(1)
    print(json.dumps({"ready": True, "error": error}), flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        steps(int(line))
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
