"""Let a network that train.py has trained write text, one character at a time.

    python generate.py                          # 1,000 characters, from weights/wonderland
    python generate.py weights/wonderland-bigger --length 300
    python generate.py weights/wonderland/weights-improvement-03-2.6618.weights.h5
    python generate.py --prompt "alice was " --temperature 0.5 --random-seed 1

It starts from a random window of the text, and predicts what follows its own output.
"""

import hashlib
import os
import signal
import sys
import warnings
from argparse import ArgumentParser, RawTextHelpFormatter
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the slow imports, too
    # A character a step is no work for a GPU, whose memory training may hold
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")

import train  # isort: skip - first, as it sets TensorFlow's switches
import keras
import numpy as np


def parse_arguments(argv=None):
    """Return the command line's arguments, with the tutorial's values as defaults."""
    weights = train.HERE / "weights" / "wonderland"
    parser = ArgumentParser(description=__doc__, formatter_class=RawTextHelpFormatter)
    parser.error = train.fail
    add, number = parser.add_argument, train.number
    add("path", nargs="?", type=Path, default=weights, help="a folder or a file")
    add("--length", type=number(int, 1), default=1000, help="characters (1000)")
    add("--prompt", default="", help="your own words, for the end of the seed")
    add("--temperature", type=number(float, 0), default=0, help="sample if above 0")
    add("--random-seed", type=number(int, 0), help="repeat the same random choices")
    return parser.parse_args(argv)


class Lanes(keras.layers.Layer):
    """One LSTM step for all windows that the next character is part of, a row each.

        row 0                   starts with this character, from a state of zeros
        row i                   goes on from row i - 1, so it has had i + 1 characters
        row seq_length - 1      has had its whole window: its output predicts

    So each has the inputs that it has in the tutorial: the same output, up to rounding.
    """

    def __init__(self, cell, seq_length):
        super().__init__()
        self.cell = cell
        shape = (2, seq_length, cell.units)
        self.states = self.add_weight(shape, "zeros", trainable=False)

    def call(self, inputs):
        states = keras.ops.pad(self.states[:, :-1], ((0, 0), (1, 0), (0, 0)))
        output, states = self.cell(inputs, [states[0], states[1]])
        self.states.assign(keras.ops.stack(states))
        return output


def choose(prediction, temperature, rng):
    """Return the index of the likeliest character or, above temperature 0, of a drawn one.

    The n_vocab probabilities of prediction are sharpened by temperatures below 1 and
    flattened by those above. Source of the draw: the Gumbel-max trick.
    """
    logits = np.log(np.maximum(prediction, 1e-30, dtype=float))
    return int(np.argmax(logits + temperature * rng.gumbel(size=len(logits))))


def generate(model, pattern, length, temperature, rng):
    """Yield the indices of length characters that follow pattern, a window of indices."""
    step = keras.Sequential([keras.Input((1,), batch_size=1)])
    for layer in model.layers:
        step.add(Lanes(layer.cell, len(pattern)) if hasattr(layer, "cell") else layer)
    step.compile(jit_compile=keras.backend.backend() != "torch")  # XLA on CPUs too
    for index in pattern:
        prediction = step.predict_on_batch(np.array([[index]]))
    for _ in range(length):
        index = choose(prediction[-1], temperature, rng)
        yield index
        prediction = step.predict_on_batch(np.array([[index]]))


def main(argv=None):
    """Print the seed and the generated text as the command line says."""
    args = parse_arguments(argv)
    rng = np.random.default_rng(args.random_seed)

    # find the checkpoints, those that ship until there are the user's own
    paths = [args.path] if os.path.isfile(args.path) else train.checkpoints(args.path)
    paths = paths or train.checkpoints(args.path.parent / "pretrained" / args.path.name)
    if not paths:
        train.fail(f"no checkpoint in {args.path}; run python train.py first")

    # define the LSTM model, load the network weights
    settings = train.read_settings(paths[0].parent)
    chars, seq_length = settings["vocab"], settings["seq_length"]
    warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
    model, best, reason = train.load_best(settings, paths)
    if not best:
        train.fail(f"{reason}; name others or run python train.py")
    if np.isnan(sum(weights.sum() for weights in model.get_weights())):
        train.fail(f"{best} holds weights that are no numbers; remove it")

    # pick a random seed, which ends in the prompt
    seed = args.prompt.lower()
    if unknown := "".join(sorted(set(seed) - set(chars))):
        train.fail(f"the network does not know {unknown!r}; leave that out of --prompt")
    if len(seed) < seq_length:
        text = train.HERE / settings["text"]
        raw_text = train.load_text(text, settings["encoding"])
        sha256 = hashlib.sha256(raw_text.encode()).hexdigest()
        if sha256 != settings["sha256"] or len(raw_text) <= seq_length:
            train.fail(f"{best} was trained on another text than {text}; put that back")
        seed = raw_text[: rng.integers(seq_length, len(raw_text))] + seed
    seed = seed[-seq_length:]
    print("Using", best, reason and f"({reason})", file=sys.stderr)
    print("Seed:")
    print('"', seed, '"')

    # generate characters
    pattern = train.encode(seed, chars)
    for index in generate(model, pattern, args.length, args.temperature, rng):
        print(chars[index], end="", flush=True)
    print("\nDone.")


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:  # `| head` has enough
        os._exit(0)  # before Python tries to write what is left
