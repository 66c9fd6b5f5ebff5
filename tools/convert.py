"""Turn an SDR film or photograph into HDR.

python tools/convert.py clip.mp4 clip-hdr.mp4 --model jsigan_x2
python tools/convert.py clip.mp4 clip-hdr.mkv --model runs/mine --range 10s-20s --encoder crf=16 preset=slow
python tools/convert.py photograph.jpg photograph.avif --model jsinet_x2
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from zoo.convert.command import main

if __name__ == "__main__":
    sys.exit(main())
