"""Networks on tiles: the whole frame's bits, memory, refusals."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import zoo
from zoo.baselines import OPERATORS, Cascade
from zoo.convert import tiling
from zoo.convert.tiling import TiledNet, bytes_taken, cut
from zoo.errors import ConfigError, DataError, SignalError
from zoo.nets import DeepSRITM, JSINet, MultipurposeCNN

TILES = [(5, 113), (111, 7), (25, 27), (17, 19), (27, 13)]


def enlarged(net: nn.Module) -> nn.Module:
    """``net`` in eval mode, its fresh weights such that every branch tells in the prediction."""
    for name, parameter in net.named_parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, std=0.05)
        elif ".modulation" in name:
            parameter.data *= 2
    return net.eval()


def picture(height: int = 111, width: int = 113, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, 3, height, width, generator=generator)


def deep_sritm(scale: int = 2) -> nn.Module:
    return enlarged(DeepSRITM(scale, channels=16))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@given(length=st.integers(1, 300), halo=st.integers(0, 45), step=st.integers(1, 310))
def test_cores_cover_an_axis_once_and_have_their_halo_or_the_border(length: int, halo: int, step: int) -> None:
    cuts = list(cut(length, halo, step))
    covered = [position for each in cuts for position in range(each.core.start, each.core.stop)]
    assert covered == list(range(length))
    assert len({each.window.stop - each.window.start for each in cuts}) == 1
    for each in cuts:
        assert each.window.start == 0 or each.core.start - each.window.start >= halo
        assert each.window.stop == length or each.window.stop - each.core.stop >= halo


# Deep SR-ITM's halo takes 82 rows and columns, of which the tests' picture leaves 29 and 31.
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize(
    "build", [deep_sritm, lambda: enlarged(MultipurposeCNN(2))], ids=["deep_sritm", "multipurpose"]
)
def test_tiles_give_the_bits_of_the_whole_frame(build: Any, tile: tuple[int, int]) -> None:
    net, x = build(), picture()
    tiled = TiledNet(net, tile)
    with torch.inference_mode():
        assert torch.equal(tiled(x), net(x.contiguous(memory_format=torch.channels_last)))


@pytest.mark.parametrize("tile", [(7, 21), (57, 11)])
def test_tiles_of_jsinet_give_the_bits_of_the_whole_frame(tile: tuple[int, int]) -> None:
    net, x = enlarged(JSINet(2)), picture(57, 93)
    tiled = TiledNet(net, tile)
    with torch.inference_mode():
        assert torch.equal(tiled(x), net(x.contiguous(memory_format=torch.channels_last)))


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("name", sorted(name for name in zoo.list_models()))
def test_every_network_gives_the_same_bits_on_tiles(name: str, dtype: torch.dtype | None, threads: int) -> None:
    net, x, before = enlarged(zoo.create(name)), picture(), torch.get_num_threads()
    tiled = TiledNet(net, (111, 113))
    torch.set_num_threads(threads)
    try:
        with torch.autocast("cpu", dtype) if dtype else contextlib.nullcontext():
            whole = tiled(x)
            for tiled.tile in TILES:
                assert torch.equal(tiled(x), whole), tiled.tile
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("operator", sorted(name for name, each in OPERATORS.items() if not each.whole_picture))
def test_tiles_of_a_baseline_differ_by_less_than_a_hundredth_of_a_code(operator: str) -> None:
    # torch's powers round what is left over of a vector in another way.
    net, x = zoo.create(f"bicubic+{operator}", scale=2).eval(), picture()
    torch.testing.assert_close(1023 * TiledNet(net, (17, 19))(x), 1023 * net(x), rtol=0, atol=0.01)


def test_less_context_than_the_halo_gives_another_picture() -> None:
    net, x = enlarged(JSINet(2)), picture(40, 70)
    tiled = TiledNet(net, (20, 35))
    whole = tiled.net(x.contiguous(memory_format=torch.channels_last))
    tiled.halo = (10, 10)
    assert (1023 * (tiled(x) - whole)).abs().max() > 0.5


def test_pictures_of_a_batch_are_converted_one_by_one_without_gradients() -> None:
    x = picture(40, 50, batch=3)
    tiled = TiledNet(enlarged(MultipurposeCNN(2)), (16, 16))
    pred = tiled(x)
    assert not pred.requires_grad
    assert torch.equal(pred, torch.cat([tiled(each) for each in x.split(1)]))


def test_it_has_the_interface_of_the_network_inside() -> None:
    net = MultipurposeCNN(4)
    tiled = TiledNet(net)
    for fact in ("input_signal", "output_signal", "scale", "halo"):
        assert getattr(tiled, fact) == getattr(net, fact)
    half = TiledNet(MultipurposeCNN(4).half(), (8, 8))(picture(20, 20))
    assert half.dtype == torch.float16
    assert half.shape == (1, 3, 80, 80)


def test_what_depends_on_the_whole_picture_gets_it_whole() -> None:
    net, x = zoo.create("bicubic+huo", scale=2).eval(), picture(40, 50)
    assert torch.equal(TiledNet(net, (8, 8), memory=1)(x), net(x))


def windows_of(tiled: TiledNet, x: Tensor) -> set[tuple[int, int]]:
    """Sizes of what the network inside saw."""
    seen = set()
    # The run that counts memory, on tensors without data, is no window.
    see = lambda _, args: None if args[0].is_meta else seen.add(tuple(args[0].shape[-2:]))  # noqa: E731
    hook = tiled.net.register_forward_pre_hook(see)
    tiled(x)
    hook.remove()
    return seen


def test_the_tile_is_the_largest_that_fits_in_memory() -> None:
    net, x = enlarged(MultipurposeCNN(2)), picture(120, 200)
    peak, pred = bytes_taken(net, x)
    fixed = tiling._WORKSPACE["cpu"]
    assert windows_of(TiledNet(net, memory=fixed + peak), x) == {(120, 200)}
    for share in (0.9, 0.5, 0.2):
        ((height, width),) = windows_of(TiledNet(net, memory=fixed + pred + int(share * peak)), x)
        assert 0.5 * share < height * width / (120 * 200) <= share


def test_half_precision_and_batches_are_reckoned_with() -> None:
    net: Any = enlarged(MultipurposeCNN(2))
    x = picture(120, 200)
    tiled = TiledNet(net, memory=tiling._WORKSPACE["cpu"] + bytes_taken(net, x)[0] - 1)
    ((height, width),) = windows_of(tiled, x)
    assert height * width < 120 * 200
    with torch.autocast("cpu", torch.bfloat16):
        assert windows_of(tiled, x) == {(120, 200)}
    rows, columns = tiled._fitting_tile(x, net.halo)
    rows_of_batch, columns_of_batch = tiled._fitting_tile(picture(120, 200, batch=14), net.halo)
    assert rows_of_batch * columns_of_batch < rows * columns


@pytest.mark.parametrize("net", [JSINet(2), DeepSRITM(2, channels=16), MultipurposeCNN(2)])
def test_counted_memory_is_what_the_tensors_of_a_true_run_take(net: nn.Module) -> None:
    x = picture(64, 80)
    counted, pred = bytes_taken(net, x)
    with torch.no_grad(), tiling._LiveTensors() as live:
        out = net(x.clone())  # the window that a tile is copied to counts
    assert pred == out.nbytes
    strips = 4 * 4 * tiling._WORKSPACE["cpu"] // 32  # no more than a strip of dynamic filters, a few times over
    assert counted <= live.peak <= counted + strips


def test_free_memory_is_some_and_no_more_than_the_machine_has() -> None:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < tiling.free_memory(torch.device("cpu")) < total


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": (0, 8)}, "a tile can't have 0 rows and 8 columns; give 1 or more of each"),
        ({"memory": 0}, "can't run in 0 bytes; give those that it may take"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TiledNet(MultipurposeCNN(2), **options)


def test_too_little_memory_is_refused_with_what_is_needed() -> None:
    tiled, x = TiledNet(enlarged(MultipurposeCNN(2)), memory=10**8), picture(60, 60)
    with pytest.raises(ConfigError, match=r"MultipurposeCNN needs \d+ MB for a picture of 60x60 .* may take 100; give"):
        tiled(x)


class OfTheUser(nn.Module):
    """A super-resolver that looks at its values."""

    halo = (1, 1)

    def forward(self, rgb: Tensor) -> Tensor:
        return rgb.repeat_interleave(2, -1).repeat_interleave(2, -2) * (2 if rgb.sum().item() < 0 else 1)


def test_a_network_whose_memory_cannot_be_counted_needs_a_tile() -> None:
    net, x = Cascade(OfTheUser(), OPERATORS["white100"], 2).eval(), picture(20, 30)
    with pytest.raises(ConfigError, match=r"what Cascade takes can't be counted \(.*\); give the size of a tile"):
        TiledNet(net)(x)
    assert TiledNet(net, (8, 8))(x).shape == (1, 3, 40, 60)


def test_what_the_network_refuses_is_refused_in_its_words() -> None:
    tiled = TiledNet(JSINet(2))
    with pytest.raises(SignalError, match="want float pictures"):
        tiled(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(DataError, match="too small for the guided filter"):
        tiled(picture(2, 8))
