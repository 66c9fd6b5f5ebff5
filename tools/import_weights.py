"""Turn the authors' weights into safetensors for zoo.load.

python tools/import_weights.py net/x2.mat --model deep_sritm_x2
python tools/import_weights.py JSI-GAN_x2_exp1/JSI-GAN-12345 --model jsigan_x2 -o jsigan.safetensors
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from zoo.importers.command import main

if __name__ == "__main__":
    sys.exit(main())
