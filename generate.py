"""Let a network that train.py has trained write text, one character at a time.

    python generate.py                          # 1,000 characters, from weights/wonderland
    python generate.py weights/wonderland-bigger --length 300
    python generate.py weights/wonderland/weights-improvement-03-2.6618.weights.h5
    python generate.py --prompt " alice was " --temperature 0.5 --random-seed 1

It starts from a random window of the text, and predicts what follows its own output.
"""

import os
import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the slow imports, too
    # One window at a time is no work for a GPU, whose memory training may hold
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")

import hashlib
import sys
import warnings
from argparse import ArgumentParser, RawTextHelpFormatter
from pathlib import Path

import train  # isort: skip - first, as it sets TensorFlow's switches
import keras
import numpy as np


def parse_arguments(argv=None):
    """Return the command line's arguments, with the tutorial's values as defaults."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawTextHelpFormatter)
    parser.error = train.exit_with
    weights = train.HERE / "weights" / "wonderland"
    length = {"metavar": "N", "type": train.in_range(int, 1)}
    temperature = {"metavar": "T", "type": train.in_range(float, 0)}
    seed = {"metavar": "N", "type": train.in_range(int, 0, 2**32)}
    scale = "0 greedy (the default), 0.5 careful, 1 as the network believes"

    flag = parser.add_argument
    flag("path", nargs="?", type=Path, default=weights, help="a folder or a checkpoint")
    flag("--length", **length, default=1000, help="write N characters (1000)")
    flag("--prompt", metavar="TEXT", default="", help="your words as the seed's end")
    flag("--temperature", **temperature, default=0, help=scale)
    flag("--random-seed", **seed, help="repeat the random choices")
    return parser.parse_args(argv)


def pick_seed(settings, prompt, rng):
    """Return a random window of the run's text that ends in prompt, or end the program."""
    seq_length, prompt = settings["seq_length"], prompt.lower()
    if unknown := "".join(sorted(set(prompt) - set(settings["vocab"]))):
        train.exit_with(f"the network has no {unknown!r}; leave that out of --prompt")
    if len(prompt) >= seq_length:
        return prompt[-seq_length:]
    path = train.HERE / settings["text"]
    advice = f"put the text of these weights back, or --prompt {seq_length} characters"
    raw_text = train.load_text(path, settings["encoding"], advice)
    if hashlib.sha256(raw_text.encode()).hexdigest() != settings["sha256"]:
        train.exit_with(f"{path} is another text; {advice}")
    end = rng.integers(seq_length, len(raw_text))
    return (raw_text[:end] + prompt)[-seq_length:]


def choose(prediction, temperature, rng):
    """Return the index of the likeliest character or, above temperature 0, of a drawn one.

    The n_vocab probabilities of prediction are sharpened by temperatures below 1 and
    flattened by those above. Source of the draw: the Gumbel-max trick.
    """
    logits = np.log(np.maximum(prediction, 1e-30, dtype=float))
    return int(np.argmax(logits + temperature * rng.gumbel(size=len(logits))))


def generate(model, pattern, length, temperature, rng):
    """Yield the indices of length characters that follow pattern, a list of indices."""
    # XLA halves the time of a character, on CPUs too; Keras has none for torch
    model.compile(jit_compile=keras.backend.backend() != "torch")
    for _ in range(length):
        x = np.reshape(pattern, (1, len(pattern), 1))
        prediction = model.predict_on_batch(x)[0]
        if prediction.ndim == 2:  # --every-character: one for each, the last is ours
            prediction = prediction[-1]
        index = choose(prediction, temperature, rng)
        yield index
        pattern = [*pattern[1:], index]


def main(argv=None):
    """Print the seed and the generated text as the command line says."""
    args = parse_arguments(argv)
    rng = np.random.default_rng(args.random_seed)

    # find the checkpoints, those that ship until there are the user's own
    paths = [args.path] if os.path.isfile(args.path) else train.checkpoints(args.path)
    paths = paths or train.checkpoints(args.path.parent / "pretrained" / args.path.name)
    if not paths:
        train.exit_with(f"no checkpoint in {args.path}; run python train.py first")

    # define the LSTM model, load the network weights
    settings = train.read_settings(paths[0].parent)
    warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
    model, best = train.load_best(settings, paths)
    if not best:
        train.exit_with(f"no checkpoint in {args.path} can be loaded; name another")

    # pick a random seed
    seed = pick_seed(settings, args.prompt, rng)
    train.say(f"Using {best}")
    print("Seed:")
    print('"', seed, '"')

    # generate characters
    chars = settings["vocab"]
    pattern = train.encode(seed, chars).tolist()
    for index in generate(model, pattern, args.length, args.temperature, rng):
        print(chars[index], end="", flush=True)
    print("\nDone.")


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # what an old console cannot show
    try:
        main()
    except BrokenPipeError:  # `| head` has enough
        os._exit(0)  # before Python tries to write what is left
