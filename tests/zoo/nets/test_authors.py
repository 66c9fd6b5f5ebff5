"""Tests of the tables from the authors' parameter names to ours."""

from __future__ import annotations

import pytest

from tests.golden_parameters import deep_sritm_shapes, params
from zoo.nets import DeepSRITM, Discriminator, JSINet, MultipurposeCNN
from zoo.nets.authors import deep_sritm_names, discriminator_names, jsinet_names, multipurpose_cnn_names


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("modulation", [False, True])
def test_deep_sritm_names_every_tensor_once_in_the_authors_order(scale: int, modulation: bool) -> None:
    names = deep_sritm_names(scale, modulation)
    assert list(names) == list(deep_sritm_shapes.deep_sritm_shapes(scale, modulation))
    assert sorted(names.values()) == sorted(DeepSRITM(scale, modulation, channels=1).state_dict())


def test_jsinet_names_every_tensor_once_in_the_authors_order() -> None:
    names = jsinet_names()
    assert [f"Network/{name}" for name in names] == list(params.jsinet_shapes(2))
    assert sorted(names.values()) == sorted(JSINet().state_dict())


def test_discriminator_names_every_tensor_once_in_the_authors_order() -> None:
    names = discriminator_names()
    assert [f"D1/{name}" for name in names] == list(params.discriminator_shapes("D1"))
    assert sorted(names.values()) == sorted(Discriminator(base_channels=1).state_dict())


def test_multipurpose_cnn_names_every_tensor_once() -> None:
    assert sorted(multipurpose_cnn_names().values()) == sorted(MultipurposeCNN().state_dict())
