"""The weights that ship: that they are real, and that the pages say what they do."""

import builtins
import os
import re
import shlex
import shutil
import sys
import zipfile
from pathlib import Path

import keras
import measure_loss
import measure_texts
import numpy as np
import pytest
from conftest import (
    CARDS,
    COURSES,
    OLD_LISTING,
    README,
    ROOT,
    RUNS,
    TEXT,
    losses_in,
    rows_of,
    run,
)

import generate
import train

PRETRAINED = ROOT / "weights" / "pretrained"
LISTING = (ROOT / "tests" / "listing.py").read_text(encoding="utf-8")
MODERN = "wonderland-modern"
LOSSES = {
    "wonderland": 1.5655,
    "wonderland-bigger": 0.9330,
    MODERN: 0.9768,
    "christmas-carol": 1.9975,
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_weights_have_the_loss_that_the_cards_claim(name):
    model, *_ = train.load_best(PRETRAINED / name)
    windows = measure_loss.cut(PRETRAINED / name)[::50]
    loss = measure_loss.losses(model, windows).mean()
    assert loss == pytest.approx(LOSSES[name], abs=0.002)
    assert f"{LOSSES[name]:.4f}" in CARDS


@pytest.mark.parametrize("name", LOSSES)
def test_the_weights_are_the_best_in_the_log_without_the_optimizers_state(name):
    ((*in_name, path),) = train.checkpoints(PRETRAINED / name)
    losses = losses_in(PRETRAINED / name)
    assert list(losses) == list(range(1, len(losses) + 1))
    epoch = min(losses, key=losses.get)
    assert in_name == [round(losses[epoch], 4), epoch]
    assert f"{losses[epoch]:.4f}" in CARDS
    assert not keras.models.load_model(path).compiled


@pytest.mark.parametrize("name", LOSSES)
def test_the_weights_name_keras_classes_as_today_so_that_the_next_one_reads_them(name):
    if keras.initializers.Orthogonal.__name__ != "Orthogonal":
        pytest.skip("Keras 3.5 and 3.6 have a name that none has since")
    with zipfile.ZipFile(train.checkpoints(PRETRAINED / name)[0][2]) as file:
        config = file.read("config.json").decode()
    named = re.findall(r'"module": "([\w.]+)", "class_name": "(\w+)"', config)
    assert len(named) == config.count("class_name") > 10
    for module, class_name in named:
        assert getattr(sys.modules[module], class_name).__name__ == class_name


def test_the_readmes_losses_are_the_logs():
    folders = {"first": "", "bigger": "-bigger", "modern": "-modern"}
    losses = {n: losses_in(PRETRAINED / f"wonderland{f}") for n, f in folders.items()}
    rows = [cells for cells in rows_of(README) if re.match(r"[\[*]+\w", cells[0])]
    rows = [(re.search(r"\w+", cells[0])[0], *cells[1:]) for cells in rows]
    results = [cells for cells in rows if cells[0] in losses and len(cells) == 4]
    assert len(results) == 3
    for network, epoch, ours, _ in results:
        assert ours == f"{losses[network][int(epoch)]:.4f}"
    trained = [cells for cells in rows if cells[1:2] and "train.py" in cells[1]]
    trained = [(cells[0], cells[-1]) for cells in trained if cells[0] in losses]
    assert len(trained) == 3
    for network, loss in trained:
        epoch = max(losses[network])
        assert loss.startswith(f"{losses[network][epoch]:.2f} after {epoch}")


def test_the_table_of_nine_runs_is_their_logs():
    rows = [cells for cells in rows_of(RUNS) if re.match("seed-|interr", cells[0])]
    assert len(rows) == 9
    for name, _, *at, lowest, jumps in rows:
        losses = losses_in(ROOT / "tests" / "runs", name=f"{name}.csv")
        assert at == [f"{losses[epoch]:.4f}" for epoch in (10, 20, 30)]
        best = min(losses, key=losses.get)
        assert lowest == f"{losses[best]:.4f} (epoch {best})"
        minima = np.minimum.accumulate(list(losses.values()))
        jumped = [e for e in range(2, 31) if losses[e] > minima[e - 2] + 0.05]
        assert jumps == (", ".join(map(str, jumped)) or "none")


@pytest.mark.parametrize("page", [README, CARDS], ids=["README.md", "the cards"])
def test_the_pages_commands_print_their_samples(page, project, monkeypatch, capsys):
    monkeypatch.setattr(train, "HERE", project)
    monkeypatch.chdir(project)
    shutil.copytree(PRETRAINED, project / "weights" / "pretrained")
    sample = r"^\$ python generate\.py ?(.*)\n(Seed:\n[\s\S]*?\nDone\.\n)```$"
    samples = re.findall(sample, page, re.MULTILINE)
    assert len(samples) == page.count("\nDone.\n") > 1
    for args, stdout in samples:
        generate.main(shlex.split(args))
        captured = capsys.readouterr()
        assert captured.out == stdout
        folder = re.search(r"^(?:weights/(\S*))?", args)[1] or "wonderland"
        assert str(Path("pretrained", folder, "weights-")) in captured.err


@pytest.mark.parametrize("script", [train, generate], ids=["train", "generate"])
def test_the_pages_commands_have_flags_that_exist(script):
    command = rf"python {script.__name__}\.py([^`\n;&|]*)"
    commands = re.findall(command, README + CARDS + RUNS + COURSES)
    assert len(commands) >= 5
    for args in commands:
        if args != " --help":
            script.parse_arguments(shlex.split(args))


def test_the_pages_links_lead_to_files_and_headings():
    pages = [ROOT / "README.md", PRETRAINED / "README.md", *ROOT.glob("tests/**/*.md")]
    assert len(pages) == 6
    for page in pages:
        for link in re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8")):
            name, _, anchor = link.partition("#")
            if name.startswith("http"):
                continue
            target = page.parent / name if name else page
            assert target.exists(), link
            if anchor:
                headings = re.findall(
                    "^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE
                )
                words = [re.sub(r"[^\w -]", "", each.lower()) for each in headings]
                assert anchor in [each.replace(" ", "-") for each in words], link


def old_lines():
    """Return the page's lines of the old listing, each with the message it ends in."""
    line = r"^\| `([^`]+)`[^|]*"
    message = r"\| [^`|]*(``?) ?(\w+Error): (.+?) ?\2(?!`)"
    found = re.finditer(line + message, OLD_LISTING, re.MULTILINE)
    return [(match[1], match[3], match[4]) for match in found]


FAILS_LATER = {  # where the old listing comes to what a line of it sets
    "filepath": "checkpoint = ModelCheckpoint(filepath, monitor='loss')",
    "filename": "model.load_weights(filename)",
}


@pytest.mark.parametrize(("line", "kind", "message"), old_lines())
def test_an_old_line_is_answered_as_the_page_says(line, kind, message):
    model = keras.Sequential([keras.Input((100, 1)), keras.layers.LSTM(2)])
    model.compile(loss="mse")
    names = {
        "ModelCheckpoint": keras.callbacks.ModelCheckpoint,
        "callbacks_list": [],
        "model": model,
        "X": np.zeros((2, 100, 1)),
        "y": np.zeros((2, 2)),
    }
    with pytest.raises(getattr(builtins, kind), match=re.escape(message.lstrip("…"))):
        exec(line, names)  # noqa: S102 - what it runs stands on the page
        exec(FAILS_LATER[re.match(r"\w+", line)[0]], names)  # noqa: S102 - nor this


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("for i in range(9):\nx = i", "IndentationError"),
        ("filename = “wonderland.txt”", "invalid character '“' (U+201C)"),
        ("range(0, n_chars – seq_length, 1)", "invalid character '–' (U+2013)"),
        ("open(filename, encoding='utf-8′)", "unterminated string literal"),
    ],
)
def test_a_line_copied_from_the_web_is_answered_as_the_page_says(line, message):
    with pytest.raises(SyntaxError) as caught:
        compile(line, "old.py", "exec")
    assert message in repr(caught.value) and f"`{message}`" in OLD_LISTING


def test_a_seed_copied_from_the_web_is_code_as_the_page_says(capsys):
    assert '`print(""", …, """)`' in OLD_LISTING
    exec('print(""", "".join(pattern), """)')  # noqa: S102 - the line as it is copied
    assert capsys.readouterr().out == ', "".join(pattern), \n'


LATER = {  # what the tutorial's later form has in other words
    "from keras.": "from tensorflow.keras.",
    '.keras"\ncheckpoint': '.hdf5"\ncheckpoint',
}


@pytest.mark.parametrize("form", ["of 2016", "later"])
def test_the_corrected_listing_has_the_pages_edits_and_runs_to_its_end(project, form):
    edits = [cells[2] for cells in rows_of(OLD_LISTING) if "Error: " in cells[1]]
    edits = [code for edit in edits for code in re.findall(r"`([^`]+)`", edit)]
    assert len(edits) >= 6 and all(edit in LISTING for edit in edits)
    short = LISTING.replace("epochs=20", "epochs=2").replace("range(1000)", "range(20)")
    if form == "later":
        for old, new in LATER.items():
            assert old in short
            short = short.replace(old, new)
        (project / "listing.py").write_text(short, "utf-8")
        (row,) = (row for row in rows_of(OLD_LISTING) if "`filepath=" in row[0])
        new, old = re.findall(r"`(\.\w+)`", row[2])
        message = re.search("Error: (.+?) *``", row[1])[1]
        assert message in run(project, "listing.py").stderr.splitlines()[-1]
        short = short.replace(old, new)
    (project / "listing.py").write_text(short, "utf-8")
    earlier = project / "weights-improvement-20-0.0001.keras"  # of another text
    earlier.write_bytes(b"")
    os.utime(earlier, (0, 0))
    ended = run(project, "listing.py")
    assert ended.returncode == 0, ended.stderr
    seed_and_text = r'Seed:\n" (.{100}) "\n(.{20})\nDone\.\n$'
    assert re.search(seed_and_text, ended.stdout, re.DOTALL)[1] in TEXT


def test_alice_as_it_was_read_once_has_as_many_kinds_of_characters():
    text = (ROOT / "data/wonderland.txt").read_text("utf-8").lower()
    rows = [row for row in rows_of(OLD_LISTING) if row[0].isdigit()]
    assert len(set(text)) == 43 and len(rows) == 3
    for units, line in rows:
        names = {"raw_text": text}
        exec(line.strip("`"), names)  # noqa: S102 - what it runs stands on the page
        assert len(set(names["raw_text"])) == int(units)
    assert len(names["raw_text"]) == 147_674 + 1  # the tutorial's last line had no end


def test_what_ships_can_be_trained_further_by_the_cards_commands(
    tmp_path, monkeypatch, capsys
):
    """For two steps of an epoch, whose loss is near that of the network."""
    batches = train.batches
    monkeypatch.setattr(train, "batches", lambda *a, **o: batches(*a, **o).take(2))
    monkeypatch.chdir(tmp_path)
    found = [row for row in rows_of(CARDS) if "train.py" in row[-1]]
    assert {row[0].strip("`") for row in found} == set(LOSSES)
    for name, command in found:
        folder = Path(shutil.copytree(PRETRAINED / name.strip("`"), "weights/mine"))
        loss, epoch, _ = train.checkpoints(folder)[0]
        train.main(shlex.split(command.strip("`").removeprefix("python train.py")))
        assert f"with {epoch} of {epoch + 1} epochs" in capsys.readouterr().out
        assert losses_in(folder)[epoch + 1] == pytest.approx(loss, abs=0.3)
        shutil.rmtree(folder)


def test_what_is_timed_is_the_listing_with_changes_that_apply():
    measure_speed = pytest.importorskip("measure_speed")  # Windows has no pty
    for changes in measure_speed.CHANGES.values():
        assert all(LISTING.count(old) == 1 for old in changes)


def test_texts_that_are_measured_are_those_of_generate(monkeypatch, capsys):
    monkeypatch.setattr(measure_texts, "LENGTH", 40)
    folder = PRETRAINED / MODERN
    model, *_ = train.load_best(folder)
    raw_text = (folder / "text.txt").read_text("utf-8")
    texts = measure_texts.write(model, raw_text, 3, 0.5)
    for n, text in enumerate(texts):
        args = ["--length", "40", "--temperature", "0.5", "--random-seed", str(n)]
        generate.main([str(folder), *args])
        assert capsys.readouterr().out.endswith(f'"\n{text}\nDone.\n')


def test_loops_and_shared_passages_are_counted_as_the_page_says():
    once = "".join(map(chr, range(1000)))
    assert not measure_texts.loops(once)
    assert measure_texts.loops(once[:700] + 300 * "*")
    assert measure_texts.loops(once[100:550] + 3 * once[:200])
    assert not measure_texts.loops(once[300:600] + 3 * once[:201])
    assert not measure_texts.loops(once[100:700] + 3 * once[:100])
    texts = [once[:300], once[200:500], once[401:700], 2 * once[800:]]
    assert measure_texts.sharing(texts) == 2
