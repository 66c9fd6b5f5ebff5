"""How long a user waits before the first prediction, beside `import torch` alone.

    python tests/benchmarks/bench_start.py                  # five rounds
    python tests/benchmarks/bench_start.py --model jsinet_x2.preview --rounds 9

Each line is a fresh process; the figures are medians of CPU seconds (by the clock a busy machine tells little). Rounds
take turns. `zoo.load` counts from the moment when all that it imports is there: what it reads, checks and builds.
Without `--model` the weights are those of a fresh Deep SR-ITM x2, the largest network, in a cache of its own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

CLOCK = "import time; start = time.process_time()\n"
TOLD = "\nprint(time.process_time() - start)"
STEPS = {
    "import torch": CLOCK + "import torch" + TOLD,
    "import zoo": CLOCK + "import zoo" + TOLD,
    "import zoo, list_models()": CLOCK + "import zoo; zoo.list_models(); zoo.list_models(pretrained=True)" + TOLD,
    "import zoo, load()": CLOCK + "import zoo; zoo.load({model!r})" + TOLD,
    "load() beyond imports": "import zoo; zoo.load({model!r})\n" + CLOCK + "zoo.load({model!r})" + TOLD,
}
FRESH = "deep_sritm_x2"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="published weights (default: fresh ones)")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        if options.model is None:
            os.environ["SRITM_HOME"] = home
            _put_fresh_weights()
        model = options.model or f"{FRESH}.v1"
        taken: dict[str, list[float]] = {name: [] for name in STEPS}
        for _ in range(options.rounds):
            for name, code in STEPS.items():
                command = [sys.executable, "-c", code.format(model=model)]
                said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                taken[name].append(float(said))
    medians = {name: statistics.median(values) for name, values in taken.items()}
    print(f"{model}, CPU seconds, median of {options.rounds}; beside `import torch`")
    for name, value in medians.items():
        print(f"{name:28}{value:8.3f}{value / medians['import torch']:8.2f}")


def _put_fresh_weights() -> None:
    import zoo
    from zoo import hub
    from zoo.weights import write_weights

    path: Path = hub.cached_path(FRESH, "v1")
    path.parent.mkdir(parents=True)
    state = {key: tensor.half() for key, tensor in zoo.create(FRESH).state_dict().items()}
    write_weights(path, state, {"name": FRESH, "tag": "v1"})
    hub.record(FRESH, "v1", "CC0-1.0")


if __name__ == "__main__":
    main()
