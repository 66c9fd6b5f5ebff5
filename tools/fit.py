"""Train a network.

python tools/fit.py --config configs/jsigan.yaml --trainer.devices 8
python tools/fit.py --config configs/jsinet_x2.yaml --data.root shards/mine --trainer.max_epochs 100
python tools/fit.py --config configs/jsigan.yaml --ckpt_path last
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from zoo.fit import main

if __name__ == "__main__":
    sys.exit(main())
