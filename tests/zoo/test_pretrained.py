"""The weights that come with the package, whichever they are."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import torch

import zoo
from zoo import hub
from zoo.hub_index import INDEX_NAME, Weights, parse_index
from zoo.model_card import check_head
from zoo.publish import MOST_BYTES, probe

_INDEX = parse_index((hub.SHIPPED / INDEX_NAME).read_text(encoding="utf-8"), INDEX_NAME)
SHIPPED = [weights for weights in _INDEX if (hub.SHIPPED / weights.file).is_file()]


def test_no_file_lies_there_that_the_index_does_not_name() -> None:
    assert {path.name for path in hub.SHIPPED.glob("*.safetensors")} == {weights.file for weights in SHIPPED}


@pytest.mark.parametrize("weights", SHIPPED, ids=lambda weights: weights.full_name)
def test_each_is_what_was_published_says_its_terms_and_loads_by_name(weights: Weights) -> None:
    path = hub.SHIPPED / weights.file
    hub.check(weights, path)
    check_head(weights, path.with_name(weights.card))
    assert weights.bytes <= MOST_BYTES
    assert weights.tag != hub.IMPORTED
    assert "psnr" in weights.scores
    words = shlex.split(weights.command)
    assert words[:4] == ["python", "tools/evaluate.py", "--model", weights.full_name]
    assert not any(word.startswith("/") for word in words)  # such a folder is nowhere else

    for dtype in (torch.float32, torch.bfloat16):
        net: Any = zoo.load(weights.full_name, dtype=dtype)
        noise = probe()[..., :13, :9].to(dtype)
        black, white = (torch.full_like(noise, 128 / 255) for _ in range(2))
        black[:, 0], white[:, 0] = 16 / 255, 235 / 255
        with torch.inference_mode():
            pred = net(torch.cat([black, white, noise]))
        assert pred.shape == (3, 3, net.scale * 13, net.scale * 9)
        assert torch.isfinite(pred).all()
        # It was trained: white is far brighter than black, and neither far from what a signal can hold.
        luma_black, luma_white, _ = pred[:, 0].float().mean((1, 2))
        assert luma_black + 0.2 < luma_white
        assert luma_black > -0.1
        assert luma_white < 1.1
