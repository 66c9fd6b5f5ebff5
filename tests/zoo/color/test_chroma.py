from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from zoo.color import subsample_chroma, upsample_chroma
from zoo.errors import SignalError

SITINGS = ("left", "center", "topleft")
SUBSAMPLINGS = ("420", "422")
sizes = st.integers(1, 17)
every_kind = st.tuples(st.sampled_from(SUBSAMPLINGS), st.sampled_from(SITINGS))


def picture(chroma: Tensor) -> Tensor:
    """A picture with ``chroma`` as its Cb, its negative as Cr and something else as luma."""
    return torch.stack([torch.rand_like(chroma), chroma, -chroma])


def ramp(height: int, width: int) -> Tensor:
    """Rises by 1 from column to column and by 100 from row to row."""
    return torch.arange(float(width), dtype=torch.float64) + 100 * torch.arange(float(height)).double().unsqueeze(1)


@given(sizes, sizes, every_kind)
def test_chroma_planes_have_half_the_size_rounded_up(height: int, width: int, kind: tuple[str, str]) -> None:
    subsampling, siting = kind
    x = torch.rand(3, height, width)
    y, cb, cr = subsample_chroma(x, subsampling, siting)
    rows = (height + 1) // 2 if subsampling == "420" else height
    assert cb.shape == cr.shape == (rows, (width + 1) // 2)
    assert torch.equal(y, x[0])

    whole = upsample_chroma(y, cb, cr, siting)
    assert whole.shape == x.shape
    assert torch.equal(whole[0], x[0])


@given(sizes, sizes, every_kind, st.floats(-1, 1, width=32), st.sampled_from([torch.float32, torch.float64]))
def test_a_plane_of_one_value_stays_exactly_that(
    height: int, width: int, kind: tuple[str, str], value: float, dtype: torch.dtype
) -> None:
    x = torch.full((3, height, width), value, dtype=dtype)
    planes = subsample_chroma(x, *kind)
    assert all((plane == value).all() for plane in planes)
    assert torch.equal(upsample_chroma(*planes, kind[1]), x)


@pytest.mark.parametrize("siting", SITINGS)
@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@pytest.mark.parametrize(("height", "width"), [(10, 12), (11, 13)])
def test_a_ramp_comes_back_inside(subsampling: str, siting: str, height: int, width: int) -> None:
    x = picture(ramp(height, width))
    back = upsample_chroma(*subsample_chroma(x, subsampling, siting), siting)
    torch.testing.assert_close(back[:, 3:-3, 3:-3], x[:, 3:-3, 3:-3], rtol=0, atol=1e-11)


# Where the second chroma sample of the second row lies, as H.273 draws it: on a ramp its value is its place.
@pytest.mark.parametrize(
    ("subsampling", "siting", "row", "column"),
    [
        ("420", "left", 2.5, 2),
        ("420", "center", 2.5, 2.5),
        ("420", "topleft", 2, 2),
        ("422", "left", 1, 2),
        ("422", "center", 1, 2.5),
        ("422", "topleft", 1, 2),
    ],
)
def test_siting_says_where_chroma_samples_lie(subsampling: str, siting: str, row: float, column: float) -> None:
    _, cb, cr = subsample_chroma(picture(ramp(8, 8)), subsampling, siting)
    assert cb[1, 1].item() == 100 * row + column
    assert cr[1, 1].item() == -cb[1, 1].item()


@pytest.mark.parametrize(
    ("made", "taken", "rows", "columns"),
    [("left", "topleft", 0.5, 0), ("center", "left", 0, 0.5), ("topleft", "center", -0.5, -0.5)],
)
def test_taking_one_siting_for_another_shifts_chroma_by_half_a_sample(
    made: str, taken: str, rows: float, columns: float
) -> None:
    x = picture(ramp(12, 12))
    shift = upsample_chroma(*subsample_chroma(x, "420", made), taken)[1] - x[1]
    torch.testing.assert_close(shift[3:-3, 3:-3], torch.full((6, 6), 100 * rows + columns, dtype=torch.float64))


@pytest.mark.parametrize("siting", SITINGS)
def test_an_impulse_spreads_as_the_stated_filters_say(siting: str) -> None:
    row = torch.zeros(1, 9, dtype=torch.float64)
    row[0, 4] = 1
    _, reduced, _ = subsample_chroma(picture(row), "422", siting)
    assert reduced[0].tolist() == [0, 0, 0.5, 0, 0]

    chroma = torch.tensor([[0.0, 0.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    enlarged = upsample_chroma(row, chroma, chroma, siting)[1, 0]
    if siting == "center":
        assert enlarged.tolist() == [0, 0, 0, 0.25, 0.75, 0.75, 0.25, 0, 0]
    else:
        assert enlarged.tolist() == [0, 0, 0, 0.5, 1, 0.5, 0, 0, 0]


@pytest.mark.parametrize("siting", SITINGS)
@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_a_smooth_picture_comes_back_nearly(subsampling: str, siting: str) -> None:
    phase = torch.linspace(0, 3.14, 64, dtype=torch.float64)
    x = picture(0.5 * torch.sin(phase) * torch.cos(phase).unsqueeze(1))
    back = upsample_chroma(*subsample_chroma(x, subsampling, siting), siting)
    assert (back - x)[:, 2:-2, 2:-2].abs().max() < 0.5 / 224  # half an 8-bit code


def test_half_precision_is_computed_in_float32() -> None:
    x = torch.rand(3, 6, 6).half()
    planes = subsample_chroma(x, "420", "left")
    assert {plane.dtype for plane in planes} == {torch.float32}
    assert upsample_chroma(x[0], x[1, ::2, ::2], x[2, ::2, ::2], "left").dtype == torch.float32


@pytest.mark.parametrize(("rows", "columns"), [(4, 8), (8, 8), (3, 4), (5, 4)])
def test_chroma_of_another_size_is_refused_with_the_sizes_that_fit(rows: int, columns: int) -> None:
    chroma = torch.zeros(rows, columns)
    with pytest.raises(SignalError, match=r"don't belong to luma of \(8, 8\); 4:2:0 has \(4, 4\), 4:2:2 \(8, 4\)"):
        upsample_chroma(torch.zeros(8, 8), chroma, chroma, "left")


def test_unknown_siting_and_subsampling_are_refused_with_the_known_ones() -> None:
    x = torch.zeros(3, 4, 4)
    with pytest.raises(SignalError, match="unknown chroma siting 'bottom'; known: left, center, topleft"):
        subsample_chroma(x, "420", "bottom")
    with pytest.raises(SignalError, match="unknown chroma siting 'bottom'"):
        upsample_chroma(x[0], x[1, :2, :2], x[2, :2, :2], "bottom")
    with pytest.raises(SignalError, match="unknown chroma subsampling '411'; known: 420, 422"):
        subsample_chroma(x, "411", "left")
