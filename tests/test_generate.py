"""Generation: what it prints, the decode against the tutorial's loop, bad input."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import BOOK, environment, run, the_only_line

import generate
import train

TEXT = BOOK[:500].lower()


def parts(stdout):
    """Return the seed and the generated text of a stdout of exactly their form."""
    match = re.fullmatch(r'Seed:\n" (.{100}) "\n(.*)\nDone\.\n', stdout, re.DOTALL)
    assert match, stdout
    return match[1], match[2]


def tutorials_loop(model, pattern, length):
    """Return the predictions and the characters of the tutorial's own loop."""
    predictions, indices = [], []
    for _ in range(length):
        x = np.reshape(pattern, (1, len(pattern), 1))
        x = x / float(model.output_shape[-1])
        prediction = model.predict(x, verbose=0)
        index = np.argmax(prediction)
        predictions.append(prediction[0])
        indices.append(index)
        pattern = [*pattern[1:], index]
    return predictions, indices


@pytest.mark.parametrize("layers", [1, 2])
def test_decoding_equals_the_tutorials_loop(layers, monkeypatch):
    settings = {"vocab": "x" * 40, "seq_length": 30, "units": 64, "dropout": 0.2}
    keras.utils.set_random_seed(2)
    model = train.build_model({**settings, "layers": layers})
    model.set_weights([8 * weights for weights in model.get_weights()])
    pattern = np.random.randint(40, size=30).tolist()
    expected, expected_indices = tutorials_loop(model, pattern, 70)
    assert len(set(expected_indices)) > 5  # a text that does not just repeat itself

    predictions = []
    choose = generate.choose

    def record(prediction, *args):
        predictions.append(prediction)
        return choose(prediction, *args)

    monkeypatch.setattr(generate, "choose", record)
    assert list(generate.generate(model, pattern, 70)) == expected_indices
    np.testing.assert_allclose(predictions, expected, atol=1e-4)


def test_decoding_equals_the_tutorials_loop_with_trained_weights(finished):
    for name in ("wonderland", "wonderland-bigger"):
        folder = finished[0] / "weights" / name
        settings = train.read_run(folder)
        model = train.build_model(settings)
        train.load_best(model, settings, train.checkpoints(folder))
        pattern = train.encode(TEXT[:100], sorted(set(TEXT))).tolist()
        _, expected = tutorials_loop(model, pattern, 5)
        assert list(generate.generate(model, pattern, 5)) == expected


def test_the_output_is_the_tutorials_from_any_folder(finished, tmp_path):
    ended = run(tmp_path, finished[0] / "generate.py", "--random-seed", 1)
    assert ended.returncode == 0, ended.stderr
    seed, generated = parts(ended.stdout)
    assert seed in TEXT
    assert len(generated) == 1000
    assert set(generated) <= set(TEXT)
    best = train.checkpoints(finished[0] / "weights" / "wonderland")[0]
    assert the_only_line(ended.stderr) == f"Using {best}\n"


def test_a_reader_that_stops_early_is_no_error(finished):
    command = f"{sys.executable} generate.py --random-seed 1 | head -c 200"
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=finished[0],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(ended.stdout) == 200
    assert the_only_line(ended.stderr).startswith("Using ")


def called(capsys, *args):
    """Run generate.main and return its stdout and its stderr."""
    generate.main([str(arg) for arg in args])
    return capsys.readouterr()


def fails(capsys, *args):
    """Run generate.main, which has to fail, and return its one line."""
    with pytest.raises(SystemExit, match="2"):
        generate.main([str(arg) for arg in args])
    captured = capsys.readouterr()
    assert captured.out == ""
    return the_only_line(captured.err)


@pytest.fixture
def folder(trained, monkeypatch):
    """The folder of a trained run, whose project the scripts now take for theirs."""
    monkeypatch.setattr(train, "HERE", trained)
    return trained / "weights" / "wonderland"


def test_a_random_seed_repeats_the_text(folder, capsys):
    args = (folder, "--length", 50, "--temperature", 1, "--random-seed")
    first, again, other = (called(capsys, *args, n).out for n in (1, 1, 2))
    assert first == again
    assert parts(first)[0] != parts(other)[0]
    assert parts(first)[1] != parts(other)[1]


def test_the_texts_encoding_is_remembered(folder, capsys, monkeypatch):
    text, weights = folder / "text.txt", folder.with_name("accented")
    text.write_bytes(("déjà vu, " * 15).encode("latin-1"))
    monkeypatch.setattr(train, "UNITS", 8)
    args = ["--encoding", "latin-1", "--epochs", "1", "--weights", str(weights)]
    train.main([str(text), *args])
    capsys.readouterr()
    assert "déjà vu" in parts(called(capsys, weights, "--length", 5).out)[0]


def test_one_checkpoint_can_be_named(folder, capsys):
    for path in train.checkpoints(folder):
        assert called(capsys, path, "--length", 1).err == f"Using {path}\n"


def test_the_larger_network_generates_too(folder, capsys):
    bigger = folder.with_name("wonderland-bigger")
    assert len(parts(called(capsys, bigger, "--length", 20).out)[1]) == 20


def test_a_prompt_ends_the_seed(folder, capsys):
    args = (folder, "--length", 1, "--random-seed", 3)
    seed = parts(called(capsys, *args).out)[0]
    prompted = parts(called(capsys, *args, "--prompt", "Alice was ").out)[0]
    assert prompted == seed[10:] + "alice was "
    long = "alice was tired " * 10
    assert parts(called(capsys, *args, "--prompt", long).out)[0] == long[-100:]


def test_a_prompt_outside_the_vocabulary_is_an_error(folder, capsys):
    line = fails(capsys, folder, "--prompt", "Alice: 4 % ~")
    assert "--prompt" in line and "'%4~'" in line


def test_temperature_samples_from_the_sharpened_or_flattened_distribution():
    prediction = np.array([0.7, 0.2, 0.1], dtype="float32")
    rng = np.random.default_rng(0)
    for temperature in (0.5, 1.0, 2.0):
        draws = [generate.choose(prediction, temperature, rng) for _ in range(5000)]
        expected = prediction ** (1 / temperature)
        frequencies = np.bincount(draws, minlength=3) / len(draws)
        np.testing.assert_allclose(frequencies, expected / expected.sum(), atol=0.03)


def test_extreme_temperatures_are_the_likeliest_and_the_uniform_choice():
    prediction = np.array([0.0, 0.2, 0.8], dtype="float32")
    rng = np.random.default_rng(0)
    assert {generate.choose(prediction, 1e-300, rng) for _ in range(50)} == {2}
    assert {generate.choose(prediction, 1e300, rng) for _ in range(50)} == {0, 1, 2}
    assert generate.choose(prediction, 0.0, rng) == 2


def test_a_damaged_checkpoint_is_passed_over(folder, capsys):
    damaged, readable = train.checkpoints(folder)
    damaged.write_bytes(damaged.read_bytes()[:100_000])
    err = called(capsys, folder, "--length", 1).err
    assert err == f"Warning: passing over damaged {damaged}\nUsing {readable}\n"


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"x" * 5000])
def test_nothing_but_damaged_checkpoints_is_an_error(folder, capsys, content):
    paths = train.checkpoints(folder)
    for path in paths:
        path.write_bytes(content)
    assert str(folder) in fails(capsys, folder)
    assert str(paths[0]) in fails(capsys, paths[0])


def test_a_checkpoint_of_another_network_is_an_error(folder, capsys):
    bigger = folder.with_name("wonderland-bigger")
    name = "weights-improvement-09-0.1000.weights.h5"
    shutil.copy(train.checkpoints(bigger)[0], folder / name)
    assert str(folder / name) in fails(capsys, folder)
    shutil.copy(train.checkpoints(folder)[1], bigger / name)
    assert str(bigger / name) in fails(capsys, bigger)


@pytest.mark.parametrize("changes", [{"units": 128}, {"vocab": "abc"}, {"layers": 2}])
def test_a_run_json_of_another_shape_is_an_error(folder, capsys, changes):
    path = folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    assert str(folder) in fails(capsys, folder)


def test_a_run_without_checkpoints_says_to_train_first(folder, capsys, tmp_path):
    names = ("nowhere", "", "no.weights.h5", 300 * "x")
    for missing in (tmp_path / name for name in names):
        line = fails(capsys, missing)
        assert str(missing) in line and "python train.py" in line


def test_weights_that_ship_serve_until_there_are_the_users_own(folder, capsys):
    shipped = Path(shutil.copytree(folder, folder.parent / "pretrained" / folder.name))
    best = train.checkpoints(folder)[0].name
    for path in train.checkpoints(folder):  # as in the first epoch of training
        path.unlink()
    err = called(capsys, folder, "--length", 1).err
    assert err == f"Using {shipped / best}\n"
    shutil.copy(shipped / best, folder)
    assert called(capsys, folder, "--length", 1).err == f"Using {folder / best}\n"


@pytest.fixture
def folder_of_address(folder):
    """The folder, now of a run whose text was downloaded, and the text's path."""
    path = folder / "run.json"
    changes = {"text": "https://example.org/books/a.txt"}
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    text = train.HERE / "data" / "wonderland.txt"
    return folder, text.rename(train.HERE / "data" / "a.txt")


def test_a_text_that_has_to_be_downloaded_is_named(folder_of_address, capsys):
    folder, text = folder_of_address
    args = (folder, "--length", 1, "--prompt", "alice was ")
    assert "alice was " in parts(called(capsys, *args).out)[0]
    text.unlink()
    assert f"save https://example.org/books/a.txt as {text}" in fails(capsys, *args)


def test_another_edition_at_the_address_serves_for_seeds(folder_of_address, capsys):
    folder, text = folder_of_address
    text.write_text("~".join(BOOK[:499]))  # which the network has not seen
    out, err = called(capsys, folder, "--length", 1)
    assert f"Warning: {text} has changed since training\nUsing" in err
    assert parts(out)[0] in BOOK[:499].lower()
    text.write_text("~" * 300 + BOOK[:100])
    assert str(text) in fails(capsys, folder)


def test_a_missing_or_damaged_run_json_is_an_error(folder, capsys):
    path = folder / "run.json"
    for content in ("", "{", "null", "[1]", '{"vocab": "abc"}', "\0", None):
        path.unlink() if content is None else path.write_text(content)
        assert str(path) in fails(capsys, folder)


def test_a_text_that_is_gone_or_has_changed_is_an_error(folder, capsys):
    text = train.HERE / "data" / "wonderland.txt"
    text.write_text(BOOK[:600])
    assert str(text) in fails(capsys, folder)
    text.unlink()
    assert str(text) in fails(capsys, folder)


@pytest.mark.parametrize(
    ("flag", "values"),
    [
        ("--length", ["0", "-5", "2.5", "all"]),
        ("--temperature", ["-0.1", "nan", "inf", "-inf", "hot"]),
        ("--random-seed", ["-1", "1.5", "x"]),
    ],
)
def test_a_number_that_makes_no_sense_is_an_error(folder, capsys, flag, values):
    for value in values:
        line = fails(capsys, folder, f"{flag}={value}")
        assert flag in line and repr(value) in line
