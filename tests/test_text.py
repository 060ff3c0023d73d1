"""From a file to the text, its vocabulary and its patterns."""

import numpy as np
import pytest
from conftest import ROOT

import train

BODY = "\n\nmary had a little lamb, its fleece was white as snow;\n" * 3


def load(path, content, encoding="utf-8"):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return train.load_text(path, encoding)


def test_the_book_has_the_figures_that_the_readme_claims():
    text = train.load_text(ROOT / "data" / "wonderland.txt", "utf-8")
    assert (len(text), len(set(text))) == (144342, 43)
    assert text.startswith("chapter i. down the rabbit-hole\n\nalice was")
    assert text.endswith("the end\n")


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_byte_order_mark_and_any_line_ends_leave_no_trace(tmp_path, line_end):
    content = b"\xef\xbb\xbf" + BODY.upper().replace("\n", line_end).encode()
    assert load(tmp_path / "a.txt", content) == BODY


def test_other_encodings_can_be_named(tmp_path):
    accented = BODY + "déjà vu\n"
    path = tmp_path / "a.txt"
    assert load(path, accented.encode("latin-1"), "latin-1") == accented
    assert load(path, accented.encode("utf-16"), "utf-16") == accented
    escapes = b"a \\ud83d\\ude00 and half a pair, \\ud83d. " * 5
    halves = "a \N{GRINNING FACE} and half a pair, \ufffd. " * 5
    assert load(path, escapes, "unicode_escape") == halves


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


@pytest.mark.parametrize("scene_break", ["* * *", "***", "**** ****"])
def test_a_start_line_without_an_end_swallows_nothing_of_the_book(
    tmp_path, scene_break
):
    body = f"\n\nmary had a lamb\n\n{scene_break}\n{BODY}"
    assert load(tmp_path / "a.txt", f"license\n{STARTS[-1]}{body}{ENDS[0]}") == body


SMALL_PRINT = "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*"


@pytest.mark.parametrize("line", [SMALL_PRINT, SMALL_PRINT.replace("*T", " T", 1)])
def test_a_header_of_the_1990s_ends_with_its_small_print(tmp_path, line):
    book = f"**Etext of Mary**\n\n***START**THE SMALL PRINT!**\nlaws\n{line}{BODY}"
    assert load(tmp_path / "a.txt", f"{book}{ENDS[-1]}\nlaws") == BODY
    late = f"laws\n{STARTS[0]}{BODY}{ENDS[0]}\n{line}\n"
    assert load(tmp_path / "a.txt", late) == BODY


@pytest.mark.parametrize("start, end", list(zip(STARTS, ENDS, strict=True)))
def test_of_several_books_in_a_file_each_is_kept(tmp_path, capsys, start, end):
    bodies = [BODY, BODY.replace("lamb", "goat"), BODY.replace("lamb", "calf")]
    books = [f"\ufefflicense\n{start}{body}{end}\n\nlicense\n" for body in bodies]
    assert load(tmp_path / "a.txt", "".join(books)) == "".join(bodies)
    whole = len("".join(books)) - 3
    left_out = f"Left out Gutenberg's {whole - 3 * len(BODY)} of {whole} characters\n"
    assert capsys.readouterr().err == left_out


def test_a_text_without_markers_is_taken_whole(tmp_path):
    markdown = (
        BODY + "cut at `*** START OF THE PROJECT GUTENBERG EBOOK`, the\nend of it\n"
    )
    assert load(tmp_path / "a.md", markdown) == markdown.lower()


def test_a_long_line_that_begins_like_a_mark_is_read_at_once(tmp_path):
    line = STARTS[-1] + 50_000 * " lamb"
    assert load(tmp_path / "a.txt", f"license\n{line}{BODY}{ENDS[0]}") == BODY


@pytest.mark.parametrize(
    ("flags", "expected"), [([], [0.25]), (["--one-hot"], [0, 1, 0, 0])]
)
def test_characters_go_in_normalized_or_one_hot(flags, expected):
    first_layer = train.build_model(train.parse_arguments(flags), "abcd").layers[0]
    second_character = np.ones((2, 100, 1))
    assert (np.array(first_layer(second_character)) == expected).all()
