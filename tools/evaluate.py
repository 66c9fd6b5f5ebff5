"""Score models on a set, side by side.

python tools/evaluate.py --model runs/sample-1 bicubic+bt2446c bicubic+oracle
python tools/evaluate.py --model jsinet_x2=mine.safetensors --data shards/mine --split val -o results/mine
python tools/evaluate.py --table deep_sritm.table4 --model deep_sritm_x2=runs/deep_sritm_x2 --data HDR.mat+SDR.mat
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from zoo.evaluation.command import main

if __name__ == "__main__":
    sys.exit(main())
