"""Write a network for other runtimes, as ONNX or torch.export, and compare the two.

python tools/export.py jsinet_x2 -o jsinet_x2.onnx
python tools/export.py jsinet_x2 --weights runs/mine/weights.safetensors -o mine.pt2 --half
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from zoo.export import main

if __name__ == "__main__":
    sys.exit(main())
