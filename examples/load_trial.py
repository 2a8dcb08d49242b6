"""A finished trial's quantized network as a torch module: classify one photograph with the simulation.

    python examples/load_trial.py 3f9c photograph.jpg --store runs

The trial is an id or its beginning, as ``harness run`` prints it.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image

from harness import Store, load_quantized


def main() -> None:
    """Print the five most likely classes by number, with their probabilities."""
    parser = argparse.ArgumentParser(description="Classify a photograph with the quantized network of a trial.")
    parser.add_argument("trial")
    parser.add_argument("photograph", type=Path)
    parser.add_argument("--store", type=Path, default=Path("runs"))
    parser.add_argument("--weights", type=Path, help="full-precision weights, where timm does not download them")
    arguments = parser.parse_args()
    store = Store(arguments.store)
    network = load_quantized(store, store.find(arguments.trial)["id"], weights=arguments.weights)
    grey = network.preprocessing.input_size[0] == 1
    image = network.preprocessing.transform()(Image.open(arguments.photograph).convert("L" if grey else "RGB"))
    with torch.inference_mode():
        probabilities = network(image[None]).softmax(1)[0]
    for share, number in zip(*probabilities.topk(5), strict=True):
        print(f"{int(number)}: {100 * share:.1f} %")


if __name__ == "__main__":
    main()
