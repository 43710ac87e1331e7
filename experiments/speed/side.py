"""One of the programs that `compare.py` runs in turns; it is not meant to be started by hand.

It builds its model and prints a JSON object (for ours: multiply-accumulates and difference of the outputs). If a package is
not installed, it prints {"missing": its name}. For each line on stdin, a number of steps, it runs that many steps and prints
their seconds.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from cases import CASES, Case

Steps = Callable[[int], None]


class Applied(NamedTuple):
    """A model with its variables, which `cases` calls as ``apply(*inputs)``.

    Attributes:
        model: Linen module.
        variables: variables of the module.
        more: keyword arguments of every call.
    """

    model: Any
    variables: Any
    more: dict[str, Any]

    def __call__(self, *inputs: Any) -> Any:
        return self.model.apply(self.variables, *inputs, **self.more)


def theirs(given: argparse.Namespace, case: Case) -> tuple[Steps, dict[str, Any]]:
    """Steps of the peer in PyTorch: forward without gradients, or forward, backward and AdamW.

    The weights and the output are saved in ``given.folder``, for our side.
    """
    import torch

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = case.peer()
    weights = {name: x.detach().float().numpy() for name, x in model.state_dict().items()}
    np.savez(given.folder / "weights.npz", **weights)
    inputs = [torch.from_numpy(x) for x in case.inputs(given.batch)]
    with torch.no_grad():
        np.save(given.folder / "output.npy", case.theirs(model, *inputs).float().numpy())
    model, inputs = model.to(device), [x.to(device) for x in inputs]
    run = torch.compile(model) if given.side == "compiled" else model
    half = torch.autocast(device, torch.bfloat16, enabled=given.dtype == "bfloat16")

    def forward() -> None:
        with torch.no_grad(), half:
            case.theirs(run, *inputs)

    step = forward
    if given.mode == "train":
        optimizer = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=0.05)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            with half:
                loss = case.theirs(run, *inputs).float().square().mean()
            loss.backward()
            optimizer.step()

    def steps(count: int) -> None:
        for _ in range(count):
            step()
        if device == "cuda":
            torch.cuda.synchronize()

    return steps, {}


def ours(given: argparse.Namespace, case: Case) -> tuple[Steps, dict[str, Any]]:
    """The same steps in vitax or plain Flax, with the weights of the peer or, without a peer, initial ones."""
    import jax
    import jax.numpy as jnp

    from vitax import pretrained
    from vitax.macs import count_macs

    inputs = [for_us(x) for x in case.inputs(given.batch)]
    if case.peer is None:
        model = case.model()
        variables = jax.jit(lambda key: initial(model, case, inputs, key))(jax.random.key(0))
    else:
        stored = np.load(given.folder / "weights.npz")
        model, variables, _ = pretrained.load({name: stored[name] for name in stored.files}, **case.fields)
    # Dropout is off on both sides: the cost of random numbers is a separate question.
    off = {name: 0.0 for name in model.__dataclass_fields__ if name.endswith("dropout")}
    model = model.clone(**off)
    if given.side == "flax":
        from plain_vit import PlainViT, plain_variables

        model, variables = PlainViT(), plain_variables(variables, model.num_heads)
    report = {"macs": None, "error": None}
    output = lambda model, more: lambda v, x: case.ours(Applied(model, v, more), *x)
    if case.trains:
        report["macs"] = count_macs(output(model, {}), variables, inputs) // given.batch
    model_in = lambda dtype: model if dtype == "float32" else model.clone(dtype=jnp.dtype(dtype).type)
    model = model_in(given.dtype)
    forward = jax.jit(output(model, {})).lower(variables, inputs).compile()
    if case.peer is not None:
        report["error"] = difference(
            np.asarray(forward(variables, inputs), np.float32), np.load(given.folder / "output.npy"), given.dtype
        )
    if given.mode == "forward":

        def steps(count: int) -> None:
            for _ in range(count):
                out = forward(variables, inputs)
            jax.block_until_ready(out)

        return steps, report
    training = {"train": True, "rngs": {"dropout": jax.random.key(0)}}
    return training_steps(output(model, training), variables, inputs), report


def initial(model: Any, case: Case, inputs: list[Any], key: Any) -> Any:
    """Initial variables of a model, which is called as its case calls it."""
    found: list[Any] = []

    def apply(*given: Any) -> Any:
        out, variables = model.init_with_output(key, *given)
        found.append(variables)
        return out

    case.ours(apply, *inputs)
    return found[0]


def training_steps(output: Callable[..., Any], variables: Any, inputs: list[Any]) -> Steps:
    """Steps as `vitax.main` runs them, with AdamW and all reported metrics, on the mean square of the output."""
    import jax
    import jax.numpy as jnp
    import optax

    from vitax import metrics
    from vitax.tasks import Aux, Task
    from vitax.training.step import make_init, make_step

    def loss(variables: Any, batch: Any, key: Any, train: bool) -> Any:
        value = jnp.square(output(variables, batch["inputs"]).astype(jnp.float32)).mean()
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

    return steps


def for_us(x: np.ndarray) -> Any:
    """An input as our models take it: channels last, and integers of 32 bits."""
    import jax.numpy as jnp

    if x.ndim == 4:
        return jnp.asarray(x.transpose(0, 2, 3, 1))
    return jnp.asarray(x.astype(np.int32) if x.dtype == np.int64 else x)


def difference(found: np.ndarray, expected: np.ndarray, dtype: str) -> float:
    """Difference of two outputs, depending on their type.

    float32: the largest difference over the largest value; integers: the share that differs; bfloat16: 1 - cosine.
    """
    if expected.ndim == 4 and found.shape != expected.shape:
        expected = expected.transpose(0, 2, 3, 1)
    if expected.dtype.kind == "i" or np.array_equal(expected, np.round(expected)):
        return float((found != expected).mean())
    if dtype == "bfloat16":
        a, b = found.ravel().astype(np.float64), expected.ravel().astype(np.float64)
        return float(1 - a @ b / np.sqrt((a @ a) * (b @ b)))
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=["ours", "flax", "eager", "compiled"])
    parser.add_argument("case", choices=list(CASES))
    parser.add_argument("--mode", choices=["forward", "train"], required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], required=True)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    side = ours if given.side in ("ours", "flax") else theirs
    try:
        steps, report = side(given, CASES[given.case])
    except ModuleNotFoundError as error:
        print(json.dumps({"missing": error.name}), flush=True)
        raise SystemExit(1) from error
    steps(1)
    print(json.dumps(report), flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        steps(int(line))
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
