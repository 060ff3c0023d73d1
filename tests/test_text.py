"""From a file to the text, its vocabulary and its patterns."""

import keras
import numpy as np
import pytest
from conftest import BOOK

import train

BODY = "\n\nmary had a little lamb, its fleece was white as snow;\n" * 3


def load(path, content, encoding="utf-8"):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return train.load_text(path, encoding)


def test_the_book_has_the_figures_that_the_readme_claims():
    text = train.load_text(train.TEXT, "utf-8")
    assert (len(text), len(set(text))) == (144342, 43)
    assert text.startswith("chapter i. down the rabbit-hole\n\nalice was")
    assert text.endswith("the end\n")


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_byte_order_mark_and_any_line_ends_leave_no_trace(tmp_path, bom, line_end):
    content = bom + BODY.upper().replace("\n", line_end).encode()
    assert load(tmp_path / "a.txt", content) == BODY


def test_other_encodings_can_be_named(tmp_path):
    accented = BODY + "déjà vu\n"
    path = tmp_path / "a.txt"
    assert load(path, accented.encode("latin-1"), "latin-1") == accented
    assert load(path, accented.encode("utf-16"), "utf-16") == accented


STARTS = [
    "*** START OF THIS PROJECT GUTENBERG EBOOK MARY ***",
    "*** START OF THE PROJECT GUTENBERG EBOOK MARY ***",
    "***START OF THE PROJECT GUTENBERG EBOOK MARY***",
    "*** START OF THE PROJECT GUTENBERG EBOOK MARY, OR A LITTLE\nLAMB AND ITS FLEECE ***",
    "*** START OF THIS PROJECT GUTENBERG ETEXT, MARY ***",
    "*** START OF THE PROJECT GUTENBERG EBOOK 24 ***",
    "*** START OF THE PROJECT GUTENBERG EBOOK MARY",
]
ENDS = [
    "*** END OF THIS PROJECT GUTENBERG EBOOK MARY ***",
    "*** END OF THE PROJECT GUTENBERG EBOOK MARY ***",
    "***END OF THE PROJECT GUTENBERG EBOOK MARY***",
    "*** END OF THE PROJECT GUTENBERG EBOOK MARY, OR A LITTLE\nLAMB AND ITS FLEECE ***",
    "End of Project Gutenberg's Mary\n\n*** END OF THIS PROJECT GUTENBERG EBOOK MARY",
    "End of the Project Gutenberg EBook of Mary, or a\nLittle Lamb\n\n*** END OF THIS",
    "End of The Project Gutenberg Etext of Mary",
]


@pytest.mark.parametrize("start, end", list(zip(STARTS, ENDS, strict=True)))
def test_gutenbergs_header_and_footer_are_removed(tmp_path, start, end):
    header = "The Project Gutenberg eBook of Mary\n\nStart with this license.\n\n"
    content = f"{header}{start}{BODY}{end}\n\nStart: full license\n"
    assert load(tmp_path / "a.txt", content.replace("\n", "\r\n")) == BODY


def test_a_text_without_markers_is_taken_whole(tmp_path):
    markdown = (
        BODY + "cut at `*** START OF THE PROJECT GUTENBERG EBOOK`, the\nend of it\n"
    )
    assert load(tmp_path / "a.md", markdown) == markdown.lower()


def tutorials_patterns(raw_text):
    """Return X and y as the tutorial makes them, before it normalizes and encodes."""
    char_to_int = {c: i for i, c in enumerate(sorted(set(raw_text)))}
    X, y = [], []
    for i in range(len(raw_text) - 100):
        X.append([char_to_int[char] for char in raw_text[i : i + 100]])
        y.append(char_to_int[raw_text[i + 100]])
    return np.reshape(X, (len(X), 100, 1)), np.array(y)


def epochs_of(patterns, count):
    """Return X and y of the first count epochs of three batches."""
    batches = [(np.array(X), np.array(y)) for X, y in patterns.take(3 * count)]
    assert [len(X) for X, _ in batches] == [128, 128, 44] * count
    return [
        [np.concatenate(arrays) for arrays in zip(*batches[i : i + 3], strict=True)]
        for i in range(0, 3 * count, 3)
    ]


def test_batches_are_the_tutorials_patterns_each_once_an_epoch_in_a_new_order():
    raw_text = BOOK[:400].lower()
    windows = np.column_stack(
        [a.reshape(300, -1) for a in tutorials_patterns(raw_text)]
    )
    assert len(np.unique(windows, axis=0)) == 300
    patterns = train.make_patterns(train.encode(raw_text, sorted(set(raw_text))), 128)
    epochs = [np.column_stack([X[:, :, 0], y]) for X, y in epochs_of(patterns, 3)]
    for epoch in epochs:
        assert sorted(map(tuple, epoch)) == sorted(map(tuple, windows))
    first, second, third = epochs
    assert (
        (first != second).any() and (first != third).any() and (second != third).any()
    )


def test_the_network_gets_the_tutorials_normalized_input():
    settings = {"vocab": "abcdefgh", "seq_length": 100, "layers": 1, "units": 8}
    model = train.build_model({**settings, "dropout": 0.2})
    X = np.arange(100).reshape(1, 100, 1) % 8
    np.testing.assert_allclose(model.layers[0](X), X / float(8), rtol=1e-6)


def test_a_random_seed_repeats_the_order_of_the_patterns():
    encoded = train.encode(BOOK[:400], sorted(set(BOOK[:400])))
    orders = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        epochs = epochs_of(train.make_patterns(encoded, 128), 2)
        orders.append(np.concatenate([y for _, y in epochs]))
    assert (orders[0] == orders[1]).all() and (orders[0] != orders[2]).any()


def test_a_vocabulary_of_more_than_a_byte_is_encoded_too():
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))
    assert train.encode(text, text).tolist() == list(range(300))
