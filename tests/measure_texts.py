"""Measure what networks write: how often they loop, and how much of it is English.

    python tests/measure_texts.py FOLDER ... [--texts 60] [--temperature 0]

Prints a row of a Markdown table for each folder or checkpoint, over the texts of 1,000
characters that generate.py writes with --random-seed 0, 1, 2 and so on. All of them are
written side by side, a batch of windows at a time.

loops                 texts whose last 250 characters are equal to those that stand n
                      before them, for an n of at most 200
share a passage       texts of which 100 characters in a row stand in another text, too
words in the book     of all runs of letters, how many occur as such in the run's text
in long lines         of all characters, how many stand in lines that are longer than
                      any in the run's text
"little"              in 1,000 words; the greedy bigger network's favourite
"""

import re
import sys
from argparse import ArgumentParser
from collections import Counter
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import generate
import train

LENGTH, TAIL, LONGEST_LOOP, PASSAGE = 1000, 250, 200, 100


def write(model, raw_text, n_texts, temperature):
    """Return the texts of LENGTH characters that generate.py writes by random seeds."""
    chars, seq_length = sorted(set(raw_text)), model.input_shape[1]
    rngs = [np.random.default_rng(n) for n in range(n_texts)]
    ends = [rng.integers(seq_length, len(raw_text)) for rng in rngs]
    seeds = [raw_text[end - seq_length : end] for end in ends]
    patterns = np.array([[chars.index(char) for char in seed] for seed in seeds])
    model.compile(jit_compile=True)
    texts = [""] * n_texts
    for _ in range(LENGTH):
        predictions = model.predict_on_batch(patterns[:, :, np.newaxis])
        if predictions.ndim == 3:
            predictions = predictions[:, -1]
        pairs = zip(predictions, rngs, strict=True)
        indices = [generate.choose(each, temperature, rng) for each, rng in pairs]
        texts = [text + chars[i] for text, i in zip(texts, indices, strict=True)]
        patterns = np.column_stack([patterns[:, 1:], indices])
    return texts


def loops(text):
    """Return whether the text's tail repeats itself after at most LONGEST_LOOP."""
    return any(text[-TAIL:] == text[-TAIL - n : -n] for n in range(1, LONGEST_LOOP + 1))


def passages(text):
    """Return all PASSAGE characters in a row of text."""
    return {text[i : i + PASSAGE] for i in range(len(text) - PASSAGE + 1)}


def sharing(texts):
    """Return how many of texts share a passage with another one."""
    texts_with = Counter(passage for text in texts for passage in passages(text))
    return sum(any(texts_with[p] > 1 for p in passages(text)) for text in texts)


def words(text):
    return re.findall(r"[^\W\d_]+", text)


def measure(path, n_texts, temperature):
    """Return a table's row of the texts of the best network at path."""
    model, _, epoch, checkpoint = train.load_best(path)
    folder = checkpoint.parent
    book = (folder / "text.txt").read_text("utf-8")
    texts = write(model, book, n_texts, temperature)
    known = set(words(book))
    written = [word for text in texts for word in words(text)]
    n_written = max(len(written), 1)
    longest = max(map(len, book.split("\n")))
    lengths = [len(line) for text in texts for line in text.split("\n")]
    in_long_lines = sum(length for length in lengths if length > longest)
    return [
        f"{folder.name}, epoch {epoch}",
        f"{sum(map(loops, texts))} of {n_texts}",
        f"{sharing(texts)} of {n_texts}",
        f"{sum(word in known for word in written) / n_written:.1%}",
        f"{in_long_lines / (n_texts * LENGTH):.0%}",
        f"{1000 * written.count('little') / n_written:.1f}",
    ]


def main():
    parser = ArgumentParser()
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--texts", type=int, default=60)
    parser.add_argument("--temperature", type=float, default=0)
    args = parser.parse_args()
    header = "loops | share a passage | words in the book | in long lines"
    print(f'| network | {header} | "little" |\n|---|---|---|---|---|---|')
    for folder in args.folders:
        row = measure(folder, args.texts, args.temperature)
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
