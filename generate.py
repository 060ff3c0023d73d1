"""Let a network that train.py has trained write text, one character at a time.

    python generate.py                          # 1,000 characters by the first network
    python generate.py weights/wonderland-bigger --length 300
    python generate.py weights/pretrained/wonderland/weights-improvement-30-1.7395.keras
    python generate.py --prompt " alice was " --temperature 0.5 --random-seed 1

It starts from a random window of the text, and goes on from its own output.
"""

import argparse
import os
import sys
from pathlib import Path

# One window at a time is no work for a GPU, and a training may need its memory. But in
# a notebook, later cells would have no GPU.
if __name__ == "__main__" and not hasattr(sys, "ps1"):
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np

import train


def main(argv=None):
    """Print the seed and the generated text as the command line says."""
    args = parse_arguments(argv)
    rng = np.random.default_rng(args.random_seed)

    # load the LSTM model with its weights, and the text that it was trained on
    model, raw_text, checkpoint = load(args.path)
    print("Using", checkpoint, file=sys.stderr)

    # create the reverse mapping of integers to chars, for which a list is enough
    int_to_char = sorted(set(raw_text))

    # pick a random seed
    seq_length = model.input_shape[1] or train.SEQ_LENGTH  # None if it takes any length
    end = rng.integers(seq_length, len(raw_text))
    seed = (raw_text[:end] + args.prompt.lower())[-seq_length:]
    if unknown := "".join(sorted(set(seed) - set(int_to_char))):
        sys.exit(f"The network has not learned {unknown!r}. Leave it out of --prompt.")
    pattern = [int_to_char.index(char) for char in seed]
    print("Seed:")
    print('"', seed, '"')

    # generate characters
    for index in write(model, pattern, args.length, args.temperature, rng):
        print(int_to_char[index], end="", flush=True)
    print("\nDone.")


def parse_arguments(argv=None):
    """Return the command line's arguments, with the tutorial's values as defaults."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    weights = train.HERE / "weights" / "wonderland"
    whole, temperature = train.in_range(int, 1), train.in_range(float, 0)
    scale = "0 greedy (the default), 0.5 careful, 1 as the network believes"

    add = parser.add_argument
    add("path", nargs="?", type=Path, default=weights, help="a folder or a checkpoint")
    add("--length", type=whole, default=1000, help="characters to write (%(default)s)")
    add("--prompt", default="", help="your own words, as the end of the seed")
    add("--temperature", type=temperature, default=0, help=scale)
    add("--random-seed", type=train.in_range(int, 0, 2**32), help="repeat the text")
    return parser.parse_args(argv)


def load(path):
    """Return a network that can write, the text it was trained on, and its checkpoint.

    path is a folder that train.py made, of which the best checkpoint is taken, or one
    checkpoint. For a folder without any, weights/pretrained may have one by its name.
    Ends the program if not, or if text and network do not belong together.
    """
    path = Path(path)
    best = train.load_best(path)
    if not best and not path.is_file():
        best = train.load_best(path.parent / "pretrained" / path.name)
    if not best:
        sys.exit(
            f"No usable checkpoint in {path}. Run train.py, or name a folder that it "
            "made, or a weights-improvement-*.keras there."
        )
    model, _, _, checkpoint = best
    text = checkpoint.parent / "text.txt"
    raw_text = text.read_text("utf-8", "replace") if text.exists() else ""
    if model.name != train.name_with_checksum(sorted(set(raw_text))):
        sys.exit(f"{checkpoint} and {text} are not as train.py saved them together.")
    model.compile(jit_compile=True)  # XLA, which halves the time of a character
    return model, raw_text, checkpoint


def write(model, pattern, length, temperature=0, rng=None):
    """Yield the indices of the next characters, length in all, that follow pattern.

    pattern is the indices of a window. Above temperature 0, rng, a NumPy generator,
    draws the characters; without one, a new generator does.
    """
    rng = np.random.default_rng(rng)
    for _ in range(length):
        x = np.reshape(pattern, (1, len(pattern), 1))  # the network normalizes it
        prediction = model.predict_on_batch(x)[0]
        if prediction.ndim == 2:  # a row for each character in the window
            prediction = prediction[-1]
        index = choose(prediction, temperature, rng)
        yield index
        pattern = np.append(pattern[1:], index)


def choose(prediction, temperature, rng):
    """Return the index of the likeliest character or, above temperature 0, draw one.

    prediction has n_vocab probabilities. Temperatures below 1 sharpen them before the
    draw, those above flatten them.
    """
    if temperature == 0:
        return int(np.argmax(prediction))
    # the likeliest becomes 1, so that not all become 0 at low temperatures
    p = (prediction / prediction.max()).astype(float) ** (1 / temperature)
    return int(rng.choice(len(p), p=p / p.sum()))


if __name__ == "__main__":
    if hasattr(sys.stdout, "reconfigure"):  # not so in notebooks
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    try:
        main()
    except KeyboardInterrupt:  # raised again, so that a shell's loop ends, too
        raise KeyboardInterrupt from None
    except BrokenPipeError:  # `| head` has enough
        os._exit(0)  # before Python tries to write what is left
    except OSError as error:  # such as a full disk
        sys.exit(str(error))
