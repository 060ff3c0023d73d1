"""Measure what networks write: how often they loop, and how much of it is English.

    python tests/measure_texts.py FOLDER ... [--texts 60] [--temperature 0]

Prints a row of a Markdown table for each folder, over the texts of 1,000 characters
that generate.py writes with --random-seed 0, 1, 2 and so on. All of them are written
side by side, a batch of windows at a time.

loops of 20, of 200   texts whose last 250 characters repeat themselves after at most
                      so many characters: texts[i] == texts[i - n] for an n up to 20, 200
words in the book     of all runs of letters, how many occur as such in the run's text
lines over 80         of all lines that both begin and end in the text
"little"              in 1,000 words; the greedy larger network's favourite
"""

import re
import sys
from argparse import ArgumentParser
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import generate
import train

LENGTH, TAIL = 1000, 250


def write(model, seeds, chars, temperature):
    """Return a text of LENGTH characters after each of seeds, as generate.py writes it.

    seeds maps random generators, which have picked the seed, to seeds.
    """
    patterns = np.array([train.encode(seed, chars) for seed in seeds.values()])
    model.compile(jit_compile=True)
    texts = [""] * len(seeds)
    for _ in range(LENGTH):
        predictions = model.predict_on_batch(patterns[:, :, np.newaxis])
        predictions = predictions.reshape(len(seeds), -1, len(chars))[:, -1]
        indices = [
            generate.choose(prediction, temperature, rng)
            for prediction, rng in zip(predictions, seeds, strict=True)
        ]
        texts = [text + chars[i] for text, i in zip(texts, indices, strict=True)]
        patterns = np.column_stack([patterns[:, 1:], indices])
    return texts


def loops(text, longest):
    """Return whether the text's tail repeats itself after at most longest characters."""
    return any(
        text[-TAIL:] == text[-TAIL - length : -length]
        for length in range(1, longest + 1)
    )


def words(text):
    return re.findall("[a-z]+", text)


def measure(folder, n_texts, temperature):
    """Return a table's row of the texts of the best network in folder."""
    settings = train.read_settings(folder)
    model, _ = train.load_best(settings, train.checkpoints(folder))
    rngs = [np.random.default_rng(n) for n in range(n_texts)]
    seeds = {rng: generate.pick_seed(settings, "", rng) for rng in rngs}
    texts = write(model, seeds, settings["vocab"], temperature)

    book = train.load_text(ROOT / settings["text"], settings["encoding"])
    known = set(words(book))
    written = [word for text in texts for word in words(text)]
    lines = [line for text in texts for line in text.split("\n")[1:-1]]
    return [
        folder.name,
        f"{sum(loops(text, 20) for text in texts)} of {n_texts}",
        f"{sum(loops(text, 200) for text in texts)} of {n_texts}",
        f"{sum(word in known for word in written) / len(written):.0%}",
        f"{sum(len(line) > 80 for line in lines)} of {len(lines)}",
        f"{1000 * written.count('little') / len(written):.1f}",
    ]


def main():
    parser = ArgumentParser()
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--texts", type=int, default=60)
    parser.add_argument("--temperature", type=float, default=0)
    args = parser.parse_args()
    header = "loops of 20 | loops of 200 | words in the book | lines over 80"
    print(f'| network | {header} | "little" |\n|---|---|---|---|---|---|')
    for folder in args.folders:
        row = measure(folder, args.texts, args.temperature)
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
