"""Let a network that train.py has trained write text, one character at a time.

    python generate.py                          # 1,000 characters, from weights/wonderland
    python generate.py weights/wonderland-bigger --length 300
    python generate.py weights/wonderland/weights-improvement-03-2.6878.weights.h5
    python generate.py --prompt "alice was " --temperature 0.5 --random-seed 1

A random window of 100 characters of the text is the seed. The network predicts the
character that follows, the window moves on by that character, and so on.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

import train  # isort: skip - first, as it silences TensorFlow's start-up
import keras
import numpy as np

from train import at_least, fail

WEIGHTS = train.HERE / "weights" / "wonderland"


def parse_arguments(argv=None):
    """Return the command line's arguments, with the tutorial's values as defaults."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.error = fail
    add = parser.add_argument
    add("weights", nargs="?", type=Path, default=WEIGHTS, help="a folder or a file")
    add("--length", type=at_least(1), default=1000, help="characters (1000)")
    add("--prompt", default="", help="your own words, for the end of the seed")
    add("--temperature", type=at_least(0, float), default=0.0, help="sample if above 0")
    add("--random-seed", type=at_least(0), help="repeat the same random choices")
    return parser.parse_args(argv)


class Lanes(keras.layers.Layer):
    """One step of an LSTM layer for all windows that the next character is part of.

    The tutorial runs each window through the network from its first character, though
    it shares all but one with the window before. Here each window has a lane, a row of
    the state, and a character advances all lanes by one step:

        lane 0                  starts with this character, from a state of zeros
        lane i                  goes on from lane i - 1, so it has had i + 1 characters
        lane seq_length - 1     has had its whole window: its output predicts

    Each window gets the inputs it gets in the tutorial, so the output is the same up to
    rounding, at one batched step a character in place of seq_length, one by one.
    """

    def __init__(self, cell, seq_length):
        super().__init__()
        self.cell = cell
        shape = (seq_length, cell.units)
        self.h = self.add_weight(shape=shape, initializer="zeros", trainable=False)
        self.c = self.add_weight(shape=shape, initializer="zeros", trainable=False)

    def call(self, inputs):
        states = [keras.ops.pad(s[:-1], ((1, 0), (0, 0))) for s in (self.h, self.c)]
        output, (h, c) = self.cell(inputs, states)
        self.h.assign(h)
        self.c.assign(c)
        return output


def choose(prediction, temperature, rng):
    """Return the index of the likeliest character or, above temperature 0, of a drawn one.

    prediction has shape (n_vocab,) and holds probabilities, which temperatures below 1
    sharpen and temperatures above 1 flatten.
    """
    if temperature == 0:
        return int(np.argmax(prediction))
    logits = np.log(np.maximum(prediction, 1e-30, dtype=float))
    weights = np.exp((logits - logits.max()) / temperature)
    return int(rng.choice(len(weights), p=weights / weights.sum()))


def generate(model, pattern, length, temperature=0.0, rng=None):
    """Yield the indices of length characters that follow pattern, a window of indices."""
    *lstms, dense = [layer for layer in model.layers if layer.weights]
    lanes = [Lanes(lstm.cell, len(pattern)) for lstm in lstms]
    step = keras.Sequential([keras.Input((1,), batch_size=1), *lanes, dense])
    step.compile(jit_compile=keras.backend.backend() != "torch")  # XLA on CPUs too
    for index in pattern:
        prediction = step.predict_on_batch(np.array([[index / dense.units]]))
    for _ in range(length):
        index = choose(prediction[-1], temperature, rng)
        yield index
        prediction = step.predict_on_batch(np.array([[index / dense.units]]))


def main(argv=None):
    """Print the seed and the generated text as the command line says."""
    args = parse_arguments(argv)
    rng = np.random.default_rng(args.random_seed)

    # Load the run's settings and its text
    one = os.path.isfile(args.weights)
    folder = args.weights.parent if one else args.weights
    paths = [args.weights] if one else train.checkpoints(folder)
    if not paths:  # those that ship, until there are the user's own
        folder = folder.parent / "pretrained" / folder.name
        paths = train.checkpoints(folder)
    if not paths:
        fail(f"no checkpoint in {args.weights}; run python train.py first")
    run = train.read_run(folder)
    chars, seq_length = run["vocab"], run["seq_length"]
    text, is_url = train.text_path(run["text"])
    text = train.HERE / text
    if not os.path.exists(text):
        way_out = f"save {run['text']} as {text}" if is_url else f"put back {text}"
        fail(f"no text to draw a seed from; {way_out}")
    raw_text = train.load_text(text, run["encoding"])
    if train.sha256(raw_text) != run["sha256"]:
        known = "".join(char for char in raw_text if char in chars)
        if not is_url or len(known) <= seq_length:
            fail(f"{folder} was trained on another text than {text}; put that back")
        print(f"Warning: {text} has changed since training", file=sys.stderr)
        raw_text = known
    prompt = args.prompt.lower()
    unknown = "".join(sorted(set(prompt) - set(chars)))
    if unknown:
        fail(f"the network does not know {unknown!r}; leave that out of --prompt")

    # Load the network weights
    model = train.build_model(run)
    best = train.load_best(model, run, paths)
    if best is None:
        fail(f"{args.weights} is damaged; name another or run python train.py")
    print("Using", best, file=sys.stderr)

    # Pick a random seed
    start = rng.integers(len(raw_text) - seq_length)
    seed = (raw_text[start : start + seq_length] + prompt)[-seq_length:]
    print("Seed:")
    print('"', seed, '"')

    # Generate characters
    pattern = train.encode(seed, chars)
    for index in generate(model, pattern, args.length, args.temperature, rng):
        print(chars[index], end="", flush=True)
    print("\nDone.")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # see train.py
    try:
        main()
    except BrokenPipeError:  # `| head` has enough
        os._exit(0)  # before Python tries to write what is left
