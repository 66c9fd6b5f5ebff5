from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import zoo
from tests.golden_parameters import deep_sritm_shapes
from tests.zoo.importers.writers import write_v73


def test_the_tool_makes_a_file_that_the_zoo_loads(root: Path, tmp_path: Path) -> None:
    write_v73(tmp_path / "x2.mat", deep_sritm_shapes.deep_sritm_params(2, True, seed=1, channels=2))
    command = [sys.executable, str(root / "tools" / "import_weights.py"), "x2.mat", "--model"]
    made = subprocess.run(
        [*command, "deep_sritm_x2", "-o", "w.safetensors"], cwd=tmp_path, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    assert "zoo.load('deep_sritm_x2', weights='w.safetensors')" in made.stdout
    assert len(zoo.load("deep_sritm_x2", weights=tmp_path / "w.safetensors").state_dict()) == 148
    refused = subprocess.run([*command, "jsinet_x2"], cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr == "import_weights.py: no TensorFlow checkpoint x2.mat: there is no file x2.mat.index\n"
