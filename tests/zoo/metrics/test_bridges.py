"""Metrics of other packages: ColorVideoVDP and HDR-VDP."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from tests.zoo.metrics.slow_references import frames, noisy
from zoo.color import decode, encode, luma
from zoo.errors import ConfigError, DataError
from zoo.metrics import HDRVDP2, create, cvvdp
from zoo.signal import HDR10_VIDEO

# Stands in for Octave: reads the prediction's plane as the script says and prints row 1, column 2 as Q.
OCTAVE = """#!{python}
import re, sys
from array import array

script = open(re.search(r"run\\('(.*)'\\)", sys.argv[2])[1]).read()
if {fails}:
    sys.exit("error: out of memory")
plane = array("d", open(re.search(r"fopen\\('(.*/preds)'", script)[1], "rb").read())
rows = int(re.search(r"preds = fread\\(f, \\[(\\d+) ", script)[1])
print("some banner")
print("SRITM_Q=%.17g" % plane[rows])
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, fails: bool = False, toolbox: str = "hdrvdp.m") -> None:
    """Put a stand-in for Octave and an empty toolbox on the machine."""
    program = folder / "octave-cli"
    program.write_text(OCTAVE.format(python=sys.executable, fails=fails))
    program.chmod(0o755)
    (folder / toolbox).write_text("")
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("HDRVDP2_PATH", str(folder))
    monkeypatch.setenv("HDRVDP3_PATH", str(folder))


def test_hdr_vdp_is_given_luminance_in_matlabs_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch)
    target = frames(2, 12, 16)
    preds = noisy(target)
    light = luma(decode(preds.clamp(0, 1), HDR10_VIDEO).clamp(0, 10000), "ycbcr2020")
    scores = create("hdr_vdp2").score(preds, target)
    torch.testing.assert_close(scores, light[:, 0, 0, 1].double(), rtol=1e-6, atol=0)
    assert "hdrvdp(preds, target, 'luminance', 30)" in create("hdr_vdp2").protocol.quantity


def test_hdr_vdp3_calls_its_own_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, toolbox="hdrvdp3.m")
    assert "hdrvdp3('quality', preds, target, 'luminance', 30, {})" in create("hdr_vdp3").protocol.quantity
    assert create("hdr_vdp3").score(frames(1, 12, 16), frames(1, 12, 16)).isfinite().all()


def test_what_octave_complains_of_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, fails=True)
    with pytest.raises(DataError, match="HDR-VDP-2 failed in octave-cli: error: out of memory"):
        create("hdr_vdp2").score(frames(1, 12, 16), frames(1, 12, 16))


def test_machine_without_octave_or_toolbox_is_told_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="HDR-VDP-3 runs in GNU Octave or MATLAB, and neither is on the PATH"):
        create("hdr_vdp3")
    install(tmp_path, monkeypatch)
    monkeypatch.delenv("HDRVDP2_PATH")
    with pytest.raises(ConfigError, match=r"set HDRVDP2_PATH to the folder of hdrvdp\.m"):
        create("hdr_vdp2")
    with pytest.raises(ConfigError, match=r"no hdrvdp\.m in elsewhere"):
        HDRVDP2(toolbox="elsewhere")


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycvvdp", None)
    with pytest.raises(ConfigError, match=r"metric 'cvvdp' needs the package of that name .*sritm-zoo\[metrics\]"):
        create("cvvdp")


def test_cvvdp_sees_what_a_display_of_1500_would_clip() -> None:
    pytest.importorskip("pycvvdp", reason="needs the extra `metrics` (cvvdp)")
    target = frames(2, 64, 72)
    assert cvvdp(target, target).tolist() == [10, 10]
    scores = [cvvdp(noisy(target, strength), target) for strength in (0.01, 0.05)]
    assert (scores[0] > scores[1]).all()
    metric = create("cvvdp")
    metric.update(noisy(target, 0.01), target)
    torch.testing.assert_close(metric.compute(), scores[0].mean())

    highlight = torch.full((1, 3, 64, 64), 50.0)
    highlight[..., 16:32, 16:32] = 8000
    cut = highlight.clamp(max=4000)
    codes = [encode(light, HDR10_VIDEO) for light in (cut, highlight)]
    assert cvvdp(*codes, peak=1500).item() == 10
    assert cvvdp(*codes).item() < 9.95
    assert "10000 cd/m²" in metric.protocol.display
