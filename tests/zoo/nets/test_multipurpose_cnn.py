"""Tests of the Multi-purpose CNN with the authors' own weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import zoo
from tests.golden_parameters import pictures
from zoo.importers import import_weights
from zoo.nets import MultipurposeCNN


@pytest.mark.parametrize("scale", [2, 4])
@torch.no_grad()
def test_equals_the_authors_with_their_weights(reference: Path, tmp_path: Path, scale: int) -> None:
    arrays = np.load(reference / "golden" / f"multipurpose_cnn_x{scale}.npz")
    source = reference / "weights" / f"Multi-purpose_CNN_x{scale}.mat"
    import_weights(source, f"multipurpose_cnn_x{scale}", tmp_path / "w.safetensors")
    net = zoo.load(f"multipurpose_cnn_x{scale}", weights=tmp_path / "w.safetensors")
    for picture in ("a", "b"):
        x = pictures(arrays[f"{picture}/input"])
        outputs = net.outputs(x)
        for ours, theirs in (("pred", "pred"), ("pred_hr", "pred_HR"), ("pred_hdr", "pred_HDR")):
            expected = pictures(arrays[f"{picture}/{theirs}"])
            torch.testing.assert_close(getattr(outputs, ours), expected, rtol=0, atol=1e-5)
        assert torch.equal(net(x), outputs.pred)
    x = pictures(arrays["a/input"])
    sr, itm = net.sr(x), net.itm(x)
    joint = net.joint[:6](torch.cat([sr, itm], dim=1))
    for ours, theirs in ((sr, "conv3a_SR"), (itm, "conv3a_HDR"), (joint, "conv6a")):
        torch.testing.assert_close(ours[:, ::8], pictures(arrays[f"a/{theirs}"]), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("scale", "values", "in_kernels", "for_pred"), [(2, 250_099, 249_480, 186_924), (4, 283_867, 283_176, 207_696)]
)
def test_has_as_many_parameters_as_the_authors_and_forward_uses_20_tensors(
    scale: int, values: int, in_kernels: int, for_pred: int
) -> None:
    net = MultipurposeCNN(scale)
    assert sum(p.numel() for p in net.parameters()) == values
    assert sum(p.numel() for p in net.parameters() if p.ndim == 4) == in_kernels
    net(torch.rand(1, 3, 4, 5)).sum().backward()
    used = [p for p in net.parameters() if p.grad is not None]
    assert len(used) == 20
    assert sum(p.numel() for p in used) == for_pred


def test_auxiliary_outputs_train_the_rest() -> None:
    net = MultipurposeCNN(2)
    outputs = net.outputs(torch.rand(1, 3, 4, 5))
    assert [tuple(o.shape[-2:]) for o in outputs] == [(8, 10), (8, 10), (4, 5)]
    sum(o.sum() for o in outputs).backward()
    assert all(p.grad is not None for p in net.parameters())
