"""Generation: what it prints, the decode against the tutorial's loop, bad input."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import BOOK, NETWORK, TEXT, fails, interrupt, only_unix, run

import generate
import train


def parts(stdout):
    """Return the seed and the generated text of a stdout of exactly their form."""
    match = re.fullmatch(r'Seed:\n" (.{100}) "\n(.*)\nDone\.\n', stdout, re.DOTALL)
    assert match, stdout
    return match[1], match[2]


def called(capsys, *args):
    """Run generate.main and return its stdout and its stderr."""
    generate.main([str(arg) for arg in args])
    return capsys.readouterr()


@pytest.fixture
def folder(trained, monkeypatch):
    """The folder of a trained run, whose project the scripts now take for theirs."""
    monkeypatch.setattr(train, "HERE", trained)
    return trained / "weights" / "wonderland"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"layers": 2},
        {"one_hot": True},
        {"every_character": True},
        {
            "one_hot": True,
            "every_character": True,
            "layers": 2,
            "units": 48,
            "input_dropout": 0.5,
        },
    ],
    ids=str,
)
def test_the_text_equals_that_of_the_tutorials_loop(tmp_path, capsys, changes):
    chars = sorted(set(BOOK.lower()))
    config = NETWORK | {"vocab": "".join(chars), "units": 64, "sha256": ""} | changes
    keras.utils.set_random_seed(2)
    model = train.build_model(config)
    model.set_weights([6 * weights for weights in model.get_weights()])
    model.save_weights(tmp_path / "weights-improvement-01-1.0000.weights.h5")
    (tmp_path / "run.json").write_text(json.dumps(config))

    seed = BOOK[:100].lower()
    pattern, expected = [chars.index(char) for char in seed], ""
    for _ in range(20):
        x = np.reshape(pattern, (1, len(pattern), 1))
        prediction = model.predict(x, verbose=0)
        index = int(np.argmax(prediction.reshape(-1, len(chars))[-1]))
        expected += chars[index]
        pattern = [*pattern[1:], index]
    assert len(set(expected)) > 5  # a text that does not just repeat itself

    written = called(capsys, tmp_path, "--prompt", seed, "--length", 20).out
    assert parts(written) == (seed, expected)


def test_the_output_is_the_tutorials_from_any_folder(finished, tmp_path):
    ended = run(tmp_path, finished[0] / "generate.py", "--random-seed", 1)
    assert ended.returncode == 0, ended.stderr
    seed, generated = parts(ended.stdout)
    assert seed in TEXT
    assert len(generated) == 1000
    assert set(generated) <= set(TEXT)
    best = train.checkpoints(finished[0] / "weights" / "wonderland")[0][2]
    assert f"Using {best}\n" in ended.stderr


@only_unix
def test_a_reader_that_stops_early_is_no_error(finished):
    command = f"{sys.executable} generate.py --random-seed 1 | head -c 200"
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=finished[0],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(ended.stdout) == 200
    assert "BrokenPipe" not in ended.stderr


def test_the_text_is_utf8_whatever_the_console_and_encoding_are(trained):
    text, weights = trained / "text.txt", trained / "weights" / "polish"
    text.write_text(
        "\\u015bwit i d\\xe9j\\xe0 vu, half a pair: \\ud800, " * 10, "ascii"
    )
    args = ["--encoding", "unicode_escape", "--epochs", "1", "--units", "8"]
    train.main([str(text), *args, "--weights", str(weights)])
    old_console = os.environ | {"PYTHONIOENCODING": "cp1252"}
    args = [weights, "--random-seed", 1, "--length", 5]
    ended = run(trained, "generate.py", *args, env=old_console, encoding="utf-8")
    assert ended.returncode == 0, ended.stderr
    assert "świt i déjà vu, half a pair: ?, " in parts(ended.stdout)[0]


def test_a_random_seed_repeats_the_text(folder, capsys):
    args = (folder, "--length", 50, "--temperature", 1, "--random-seed")
    first, again, other = (called(capsys, *args, n).out for n in (1, 1, 2))
    assert first == again
    assert parts(first)[0] != parts(other)[0]
    assert parts(first)[1] != parts(other)[1]


def test_one_checkpoint_of_either_network_can_be_named(folder, capsys):
    bigger = folder.with_name("wonderland-bigger")
    for _, _, path in train.checkpoints(folder) + train.checkpoints(bigger):
        assert called(capsys, path, "--length", 1).err == f"Using {path}\n"


def test_a_prompt_ends_the_seed(folder, capsys):
    args = (folder, "--length", 1, "--random-seed", 3)
    seed = parts(called(capsys, *args).out)[0]
    prompted = parts(called(capsys, *args, "--prompt", "Alice was ").out)[0]
    assert prompted == seed[10:] + "alice was "
    line = fails(capsys, generate.main, folder, "--prompt", "Alice: 4 % ~")
    assert "'%4~'" in line


def test_a_text_that_is_no_longer_the_one_that_was_learned_is_refused(folder, capsys):
    text, prompt = train.HERE / "data" / "wonderland.txt", "alice was tired " * 10
    text.write_text(TEXT.replace("alice", "alicia"))
    line = fails(capsys, generate.main, folder, "--prompt", prompt[:99])
    assert f"{text} is not the text" in line and "--prompt 100 letters" in line
    assert called(capsys, folder, "--length", 1, "--prompt", prompt).out


def test_without_its_text_a_network_needs_a_prompt_of_a_whole_window(folder, capsys):
    text, prompt = train.HERE / "data" / "wonderland.txt", "alice was tired " * 10
    text.unlink()
    line = fails(capsys, generate.main, folder, "--prompt", prompt[:99])
    assert str(text) in line and "--prompt 100 letters" in line
    written = called(capsys, folder, "--length", 1, "--prompt", prompt).out
    assert parts(written)[0] == prompt[-100:]


def test_temperature_samples_from_the_sharpened_or_flattened_distribution():
    prediction = np.array([0.7, 0.2, 0.1], dtype="float32")
    rng = np.random.default_rng(0)
    for temperature in (0.5, 1.0, 2.0):
        draws = [generate.choose(prediction, temperature, rng) for _ in range(5000)]
        expected = prediction ** (1 / temperature)
        frequencies = np.bincount(draws, minlength=3) / len(draws)
        np.testing.assert_allclose(frequencies, expected / expected.sum(), atol=0.03)


def test_weights_that_ship_serve_until_there_are_the_users_own(folder, capsys):
    shipped = Path(shutil.copytree(folder, folder.parent / "pretrained" / folder.name))
    best = train.checkpoints(folder)[0][2].name
    for _, _, path in train.checkpoints(folder):  # as in the first epoch of training
        path.unlink()
    err = called(capsys, folder, "--length", 1).err
    assert err == f"Using {shipped / best}\n"
    shutil.copy(shipped / best, folder)
    assert called(capsys, folder, "--length", 1).err == f"Using {folder / best}\n"


@pytest.mark.parametrize("name", ["nowhere", "data/wonderland.txt", "old.hdf5", "data"])
def test_what_is_no_checkpoint_says_what_is_one(folder, capsys, name):
    (train.HERE / "old.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n")
    line = fails(capsys, generate.main, train.HERE / name)
    assert str(train.HERE / name) in line and "train.py" in line
    assert "Keras 2's .hdf5" in line


@pytest.mark.parametrize(
    "content", [None, "", "{", "null", "[]", "{}", '{"vocab": {"a": 1}}'], ids=str
)
@pytest.mark.parametrize("main", [train.main, generate.main])
def test_a_folder_whose_run_json_is_no_runs_is_left_alone(
    folder, capsys, content, main
):
    path = folder / "run.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    before = sorted(folder.iterdir())
    text = train.HERE / "data" / "wonderland.txt"
    args = [text, "--weights", folder] if main is train.main else [folder]
    assert f"{folder} has no run.json of a run: " in fails(capsys, main, *args)
    assert sorted(folder.iterdir()) == before


@only_unix
def test_ctrl_c_ends_a_text_without_a_traceback(finished, tmp_path):
    path, command = tmp_path / "out.txt", ["generate.py", "--length", "1000000"]
    with path.open("w") as out:
        status, stderr = interrupt(
            finished[0], command, signal.SIGINT, lambda: path.stat().st_size > 200, out
        )
    assert status == 1
    assert stderr.endswith("\nStopped.\n") and "Traceback" not in stderr


def test_the_command_leaves_the_gpu_alone_and_the_module_does_not(finished):
    code = """
import os, runpy, sys
import generate
print(os.environ.get("CUDA_VISIBLE_DEVICES"))
sys.argv[1:] = ["--length", "1"]
runpy.run_path("generate.py", run_name="__main__")
print(os.environ.get("CUDA_VISIBLE_DEVICES"))
"""
    users = {key: value for key, value in os.environ.items() if "CUDA" not in key}
    ended = run(finished[0], "-c", code, env=users)
    first, *_, last = ended.stdout.splitlines()
    assert (first, last) == ("None", "-1")


@pytest.mark.parametrize(
    ("flag", "values"),
    [
        ("--length", ["0", "2.5", "many"]),
        ("--random-seed", ["-1", "x", str(2**32)]),
        ("--temperature", ["-0.1", "nan", "inf", "-inf", "hot"]),
    ],
)
def test_a_number_that_makes_no_sense_is_an_error(folder, capsys, flag, values):
    for value in values:
        line = fails(capsys, generate.main, folder, f"{flag}={value}")
        assert flag in line and repr(value) in line
