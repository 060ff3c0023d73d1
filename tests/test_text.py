"""From a file or an address to the text, its vocabulary and its patterns."""

import http.server
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import BOOK, run, the_only_line

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
    "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*",
    "*END THE SMALL PRINT! FOR PUBLIC DOMAIN EBOOKS*Ver.02/11/02*END*",
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


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("start", STARTS)
def test_gutenbergs_header_and_footer_are_removed(tmp_path, start, end):
    header = "The Project Gutenberg eBook of Mary\n\nStart with this license.\n\n"
    footer = "\n\nStart: full license\n*END*THE SMALL PRINT! is in the footer too\n"
    content = header + start + BODY + end + footer
    assert load(tmp_path / "a.txt", content.replace("\n", "\r\n")) == BODY


def test_a_text_without_markers_is_taken_whole(tmp_path):
    markdown = (
        BODY + "cut at `*** START OF THE PROJECT GUTENBERG EBOOK`, the\nend of it\n"
    )
    assert load(tmp_path / "a.md", markdown) == markdown.lower()


def test_batches_are_the_tutorials_patterns_each_once_an_epoch():
    raw_text = BOOK[:400].lower()
    chars = sorted(set(raw_text))
    n_vocab = len(chars)

    # The tutorial's construction
    char_to_int = {c: i for i, c in enumerate(chars)}
    X, y = [], []
    for i in range(len(raw_text) - 100):
        X.append([char_to_int[char] for char in raw_text[i : i + 100]])
        y.append(char_to_int[raw_text[i + 100]])
    X = np.reshape(X, (300, 100, 1)) / float(n_vocab)
    y = np.eye(n_vocab)[y]

    patterns = train.Patterns(train.encode(raw_text, chars), n_vocab, batch_size=128)
    orders = []
    for _ in range(2):
        batches = [patterns[index] for index in range(len(patterns))]
        assert [len(batch_X) for batch_X, _ in batches] == [128, 128, 44]
        order = patterns.order.copy()
        assert sorted(order) == list(range(300))
        batch_X, batch_y = (np.concatenate(arrays) for arrays in zip(*batches))
        np.testing.assert_allclose(batch_X, X[order], rtol=1e-6)
        np.testing.assert_array_equal(batch_y, y[order])
        orders.append(order)
        patterns.on_epoch_end()
    assert (orders[0] != orders[1]).any()


REQUESTS = []  # the paths that the server was asked for


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the book at /book.txt, half of it at /half.txt and nothing elsewhere."""

    def do_GET(self):
        REQUESTS.append(self.path)
        content = BOOK[:500].encode()
        self.send_response(200 if self.path in ("/book.txt", "/half.txt") else 404)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:250] if self.path == "/half.txt" else content)

    def log_message(self, *args):
        pass


@pytest.fixture
def address():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_text_at_an_address_is_downloaded_once(project, address):
    REQUESTS.clear()
    for _ in range(2):
        ended = run(project, "train.py", f"{address}/book.txt", "--epochs", 1)
        assert ended.returncode == 0, ended.stderr
    assert REQUESTS == ["/book.txt"]
    assert (project / "data" / "book.txt").read_text() == BOOK[:500]
    run_json = json.loads((project / "weights" / "book" / "run.json").read_text())
    assert run_json["text"] == f"{address}/book.txt"


@pytest.mark.parametrize("end", ["/book.txt", "/book.txt?x=/y.z", "/a/book.txt/#b/c"])
def test_an_address_is_kept_under_its_last_name(end):
    for address in ("http://example.org", "HTTPS://example.org/some/folder"):
        path = train.HERE / "data" / "book.txt"
        assert train.text_path(address + end) == (path, True)
    assert train.text_path("https://example.org/")[0].name == "example.org"
    assert train.text_path("folder/book.txt") == (Path("folder/book.txt"), False)


@pytest.mark.parametrize("page", ["/half.txt", "/missing.txt", "/" + 300 * "x"])
def test_a_failed_download_leaves_nothing(project, address, page, monkeypatch, capsys):
    monkeypatch.setattr(train, "HERE", project)
    with pytest.raises(SystemExit, match="2"):
        train.main([address + page])
    assert f"cannot download {address}{page}" in the_only_line(capsys.readouterr().err)
    assert [path.name for path in (project / "data").iterdir()] == ["wonderland.txt"]


def test_an_unreachable_address_is_an_error(project, monkeypatch, capsys):
    monkeypatch.setattr(train, "HERE", project)
    with pytest.raises(SystemExit, match="2"):
        train.main(["http://127.0.0.1:9/book.txt"])
    line = the_only_line(capsys.readouterr().err)
    assert "http://127.0.0.1:9/book.txt" in line
