"""Weights by their name on the hub, from a server on the loopback address that answers like it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
from hub_server import COMMIT, Hub, serving, use
from huggingface_hub import constants
from small import SMALL, variables_of

import vitax
from vitax import pretrained
from vitax.errors import UserError
from vitax.pretrained import hub as names

pytestmark = pytest.mark.usefixtures("quick_compile")
NAME = "hf-hub:peer/tiny"
CONFIG = dict(
    architecture="vit_tiny_patch16_224",
    model_args=dict(img_size=16, patch_size=4, embed_dim=32, depth=2, num_heads=2, mlp_ratio=1.5),
    num_classes=3,
    label_names=["ant", "bee", "cow"],
    pretrained_cfg=dict(mean=[0.5] * 3, std=[0.5] * 3, crop_pct=0.9, interpolation="bicubic", input_size=[3, 16, 16]),
)


@pytest.fixture
def weights(tmp_path):
    model = SMALL["vit"].replaced(image_size=(16, 16), num_classes=3)
    variables = variables_of(model, (np.zeros((1, 16, 16, 3), np.float32),))
    pretrained.save(tmp_path / "w.safetensors", model, variables, "timm ViT")
    return (tmp_path / "w.safetensors").read_bytes()


@pytest.fixture
def hub(weights, tmp_path, monkeypatch):
    """A hub with one model; the cache is empty."""
    hub = Hub()
    hub.files["peer/tiny"] = {
        "README.md": b"# a card",
        "config.json": json.dumps(CONFIG).encode(),
        "model.safetensors": weights,
        "pytorch_model.bin": b"not wanted",
        "other/model.safetensors": weights,
    }
    names.fetched.cache_clear()
    with serving(hub):
        use(hub, monkeypatch, tmp_path / "cache")
        yield hub
    names.fetched.cache_clear()


def test_only_the_needed_files_are_fetched_once(hub, weights):
    model = vitax.load(NAME)
    assert model.class_names == ["ant", "bee", "cow"]
    assert "crop_fraction=0.9" in model.report
    print(*hub.requests, sep="\n")
    fetched = {line.split("/")[-1].split()[0] for line in hub.downloads()}
    assert fetched == {"model.safetensors", "config.json"}
    before = len(hub.downloads())
    names.fetched.cache_clear()
    vitax.load(NAME)
    assert len(hub.downloads()) == before, "the second time it comes from the cache"


def test_another_file_and_revision(hub):
    names.fetched(f"{NAME}@v1:other/model.safetensors")
    assert hub.downloads() == ["GET /cdn/peer/tiny//other/model.safetensors"], (
        "nothing beside that file tells what it means"
    )


def test_a_broken_download_goes_on_where_it_ended(hub, weights, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.breaks["model.safetensors"] = len(weights) // 3
    assert names.fetched(NAME).read_bytes() == weights
    ranges = [line.split()[-1] for line in hub.requests if line.startswith("GET /cdn/")]
    assert [int(line.removeprefix("bytes=").removesuffix("-")) for line in ranges[1:]] == [
        len(weights) // 3 // 1000 * 1000
    ]


def test_a_file_with_another_checksum_is_refused(hub):
    hub.damaged.add("model.safetensors")
    with pytest.raises(
        UserError, match=r"model.safetensors is damaged: its checksum is \w{64}, not \w{64}; delete .*blobs"
    ):
        names.fetched(NAME)
    hub.damaged = {"config.json"}
    hub.files["peer/again"] = hub.files["peer/tiny"]
    with pytest.raises(UserError, match=r"config.json is damaged: its checksum is \w{40}, not \w{40};"):
        names.fetched("hf-hub:peer/again")


def test_without_a_connection_the_cache_is_used(hub, monkeypatch):
    expected = names.fetched(NAME)
    seen = len(hub.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    names.fetched.cache_clear()
    assert names.fetched(NAME) == expected
    assert vitax.load(NAME).class_names == ["ant", "bee", "cow"]
    assert len(hub.requests) == seen
    with pytest.raises(UserError, match="peer/other is not in the cache of the hub, and HF_HUB_OFFLINE forbids"):
        names.fetched("hf-hub:peer/other")
    with pytest.raises(UserError, match="needs the hub, and HF_HUB_OFFLINE forbids a connection"):
        names.preview(NAME)


def test_weights_in_several_files(hub, weights):
    tensors = safetensors.numpy.load(weights)
    halves = {"a.safetensors": sorted(tensors)[:9], "b.safetensors": sorted(tensors)[9:]}
    files = {"config.json": hub.files["peer/tiny"]["config.json"], "c.safetensors": b"not wanted"}
    for file, part in halves.items():
        files[file] = safetensors.numpy.save({name: tensors[name] for name in part})
    index = {"weight_map": {name: file for file, part in halves.items() for name in part}}
    files["model.safetensors.index.json"] = json.dumps(index).encode()
    hub.files["peer/parts"] = files
    seen = names.preview("hf-hub:peer/parts")
    assert seen.sizes == {file: len(files[file]) for file in halves}
    assert {name: x.shape for name, x in seen.tensors.items()} == {name: x.shape for name, x in tensors.items()}
    found = pretrained.load("hf-hub:peer/parts")
    assert not any("c.safetensors" in line for line in hub.requests)
    assert found.report.loaded == pretrained.load(NAME).report.loaded
    del files["b.safetensors"]
    hub.files["peer/fewer"] = files
    for fails in (names.fetched, names.preview):
        with pytest.raises(UserError, match=r"b.safetensors"):
            fails("hf-hub:peer/fewer")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf-hub:peer/none", "has no model peer/none, or it is private"),
        ("hf-hub:peer/tiny@v9", "has no such revision"),
        (
            "hf-hub:peer/tiny:b.npz",
            "no file b.npz; it has model.safetensors, pytorch_model.bin, other/model.safetensors",
        ),
        ("hf-hub:peer/text", "has none of model.safetensors, .*; it has no file of weights"),
        ("hf-hub:peer/odd", "it has B_16.npz; choose one of them, hf-hub:peer/odd:FILE"),
        ("hf-hub:peer/gated", "is gated: ask for access at .*/peer/gated, then set HF_TOKEN"),
        ("hf-hub:peer/a/b", "is not hf-hub:OWNER/NAME"),
        ("hf-hub:", "is not hf-hub:OWNER/NAME"),
    ],
)
def test_a_name_that_is_not_there_is_told(hub, name, message):
    hub.files |= {"peer/text": {"README.md": b""}, "peer/odd": {"B_16.npz": b""}, "peer/gated": {"config.json": b""}}
    hub.private.add("peer/gated")
    for fails in (names.fetched, names.preview, vitax.load):
        with pytest.raises(UserError, match=message):
            fails(name)


def test_a_hub_that_cannot_be_reached_is_told(hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"cannot be fetched from http://127.0.0.1:9: .*HF_HUB_OFFLINE=1"):
        names.fetched(NAME)


def test_the_command_reads_only_the_header(hub, weights, tmp_path):
    hub.files["peer/tiny"]["model.safetensors"] = weights  # nothing of its numbers is asked for
    told = _command(hub, tmp_path, NAME)
    assert f"hf-hub:peer/tiny, commit {COMMIT}" in told
    assert f"model.safetensors: {len(weights):,} bytes, not downloaded" in told
    assert "family    vit:" in told
    assert "test_crop_fraction=0.9" in told
    sent = [line for line in hub.requests if "/model.safetensors" in line and line.startswith("GET")]
    assert sent
    assert all("bytes=0-" in line for line in sent), sent
    hub.files["peer/gated"] = {**hub.files["peer/tiny"]}
    hub.private.add("peer/gated")
    saved = tmp_path / "saved.safetensors"
    _command(hub, tmp_path, "hf-hub:peer/gated", f"--save={saved}", HF_TOKEN="secret")
    assert safetensors.numpy.load_file(saved).keys() == safetensors.numpy.load(weights).keys()
    told = _command(hub, tmp_path, f"{NAME}:pytorch_model.bin", fails=True)
    assert "error: only the whole of pytorch_model.bin tells its tensors" in told


def _command(hub, tmp_path, *arguments, fails=False, **environment):
    """What ``python -m vitax.pretrained`` prints, in a process of its own, with the environment that people set."""
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")} | environment
    ran = subprocess.run(
        [sys.executable, "-m", "vitax.pretrained", *arguments], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == (2 if fails else 0), ran.stderr
    return ran.stdout + ran.stderr
