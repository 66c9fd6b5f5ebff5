from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.datamodules.sources.video_files import SDR, write_video
from tests.zoo.convert.clips import decoded, sdr_frames


def test_the_tool_converts_a_clip_from_anywhere(root: Path, tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mkv", sdr_frames(2), "yuv420p", SDR)
    command = [sys.executable, str(root / "tools" / "convert.py"), clip.name, "out.mkv", "--model", "bicubic+bt2446c"]
    done = subprocess.run([*command, "--codec", "ffv1"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "FFV1 10 bit, PQ, 2 frames" in done.stdout
    assert len(decoded(tmp_path / "out.mkv")[0]) == 2
