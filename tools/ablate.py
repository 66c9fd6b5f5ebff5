"""Train the columns of a paper's ablation, and print its table with our figures beside the paper's.

python tools/ablate.py deep_sritm.table1 --updates 300 --seeds 0 1 2 --jobs 2
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from zoo.ablation.command import main

if __name__ == "__main__":
    sys.exit(main())
