"""From a file to the text, its vocabulary and its patterns."""

import numpy as np
import pytest
from conftest import ROOT

import train

BODY = "\n\nmary had a little lamb, its fleece was white as snow;\n" * 3
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
SMALL_PRINT = "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*"


@pytest.fixture
def load(tmp_path):
    """Load the text of a file with some content."""

    def load(content, encoding="utf-8"):
        path = tmp_path / "a.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return train.load_text(path, encoding)

    return load


def test_the_book_has_the_figures_that_the_readme_claims():
    text = train.load_text(ROOT / "data" / "wonderland.txt", "utf-8")
    assert (len(text), len(set(text))) == (144342, 43)
    assert text.startswith("chapter i. down the rabbit-hole\n\nalice was")
    assert text.endswith("the end\n")


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_byte_order_mark_and_any_line_ends_leave_no_trace(load, line_end):
    assert load("\ufeff" + BODY.upper().replace("\n", line_end)) == BODY


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_other_encodings_can_be_named(load, encoding):
    accented = BODY + "déjà vu\n"
    assert load(accented.encode(encoding), encoding) == accented


@pytest.mark.parametrize("n_books", [1, 3])
@pytest.mark.parametrize(("start", "end"), list(zip(STARTS, ENDS, strict=True)))
def test_gutenbergs_headers_and_footers_are_removed(load, capsys, start, end, n_books):
    bodies = [BODY, BODY.replace("lamb", "goat"), BODY.replace("lamb", "calf")][
        :n_books
    ]
    header = "The Project Gutenberg eBook of Mary\n\nStart with this license.\n\n"
    footer = "\n\nStart: full license\n"
    whole = "".join(f"{header}{start}{body}{end}{footer}" for body in bodies)
    file = whole.replace(header, "\ufeff" + header).replace("\n", "\r\n")
    assert load(file) == "".join(bodies)
    n_cut, n_all = len(whole) - n_books * len(BODY), len(whole)
    error = f"Left out Gutenberg's {n_cut} of {n_all} characters\n"
    assert capsys.readouterr().err == error


@pytest.mark.parametrize("scene_break", ["* * *", "***", "**** ****"])
def test_a_start_line_without_an_end_swallows_nothing_of_the_book(load, scene_break):
    body = f"\n\nmary had a lamb\n\n{scene_break}\n{BODY}"
    assert load(f"license\n{STARTS[-1]}{body}{ENDS[0]}") == body
    long = STARTS[-1] + 50_000 * " lamb"  # which is read at once
    assert load(f"license\n{long}{body}{ENDS[0]}") == body


@pytest.mark.parametrize("line", [SMALL_PRINT, SMALL_PRINT.replace("*T", " T", 1)])
def test_a_header_of_the_1990s_ends_with_its_small_print(load, line):
    book = f"**Etext of Mary**\n\n***START**THE SMALL PRINT!**\nlaws\n{line}{BODY}"
    assert load(f"{book}{ENDS[-1]}\nlaws") == BODY
    assert load(f"laws\n{STARTS[0]}{BODY}{ENDS[0]}\n{line}\n") == BODY


def test_a_text_without_markers_is_taken_whole(load):
    cut = "cut at `*** START OF THE PROJECT GUTENBERG EBOOK`, the\nend of it\n"
    assert load(BODY + cut) == BODY + cut.lower()


@pytest.mark.parametrize(
    ("flag", "expected"), [("", [0.25]), ("--one-hot", [0, 1, 0, 0])]
)
def test_characters_go_in_normalized_or_one_hot(flag, expected):
    first_layer = train.build_model(train.parse_arguments(flag.split()), 4).layers[0]
    assert (np.array(first_layer(np.ones((2, 100, 1)))) == expected).all()
