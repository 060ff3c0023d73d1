"""Generation: what it prints, the decode against the tutorial's loop, bad input."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import BOOK, TEXT, USERS_ENVIRONMENT, fails, only_unix, run

import generate
import train


def parts(stdout):
    """Return the seed and the generated text of a stdout of exactly their form."""
    match = re.fullmatch(r'Seed:\n" (.{100}) "\n(.*)\nDone\.\n', stdout, re.DOTALL)
    assert match, stdout
    return match[1], match[2]


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
def test_the_text_equals_that_of_the_tutorials_loop(changes):
    vocab = "".join(map(chr, range(40)))
    settings = {"vocab": vocab, "seq_length": 30, "units": 64}
    keras.utils.set_random_seed(2)
    model = train.build_model(train.NETWORK | settings | changes)
    model.set_weights([6 * weights for weights in model.get_weights()])

    first = pattern = np.random.randint(40, size=30).tolist()
    expected = []
    for _ in range(40):
        x = np.reshape(pattern, (1, len(pattern), 1))
        prediction = model.predict(x, verbose=0)
        index = int(np.argmax(prediction.reshape(-1, 40)[-1]))
        expected.append(index)
        pattern = [*pattern[1:], index]
    assert len(set(expected)) > 5  # a text that does not just repeat itself

    written = generate.generate(model, first, 40, 0, np.random.default_rng())
    assert list(written) == expected


def test_the_output_is_the_tutorials_from_any_folder(finished, tmp_path):
    ended = run(tmp_path, finished[0] / "generate.py", "--random-seed", 1)
    assert ended.returncode == 0, ended.stderr
    seed, generated = parts(ended.stdout)
    assert seed in TEXT
    assert len(generated) == 1000
    assert set(generated) <= set(TEXT)
    best = train.checkpoints(finished[0] / "weights" / "wonderland")[0]
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


@pytest.mark.parametrize(
    "users",
    [
        {},
        {
            "CUDA_VISIBLE_DEVICES": "0",
            "JAX_PLATFORMS": "",
            "TF_NUM_INTRAOP_THREADS": "7",
        },
    ],
)
def test_generation_keeps_to_the_cpu_and_its_threads_unless_told_otherwise(
    project, users
):
    ours = {
        "CUDA_VISIBLE_DEVICES": "-1",
        "JAX_PLATFORMS": "cpu",
        "TF_NUM_INTRAOP_THREADS": str(max(1, train.cores // 2)),
    }
    environment = {k: v for k, v in USERS_ENVIRONMENT.items() if k not in ours}
    code = f"""
import os, runpy, sys
sys.argv = ["generate.py", "--help"]
try:
    runpy.run_path("generate.py", run_name="__main__")
except SystemExit:
    print([os.environ[name] for name in {list(ours)}])
"""
    ended = run(project, "-c", code, env=environment | users)
    assert ended.stdout.endswith(f"{list((ours | users).values())}\n")


def called(capsys, *args):
    """Run generate.main and return its stdout and its stderr."""
    generate.main([str(arg) for arg in args])
    return capsys.readouterr()


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


def test_an_encoding_is_remembered_and_none_that_stdout_has_is_needed(trained):
    text, weights = trained / "text.txt", trained / "weights" / "polish"
    text.write_text("świt i déjà vu, " * 20, encoding="iso8859-16")
    args = ["--encoding", "iso8859-16", "--epochs", "1", "--units", "8"]
    train.main([str(text), *args, "--weights", str(weights)])
    old_console = os.environ | {"PYTHONIOENCODING": "cp1252"}
    args = [weights, "--random-seed", 1, "--length", 5]
    ended = run(trained, "generate.py", *args, env=old_console, encoding="cp1252")
    assert ended.returncode == 0, ended.stderr
    assert "?wit i déjà vu, " in parts(ended.stdout)[0]


def test_one_checkpoint_of_either_network_can_be_named(folder, capsys):
    bigger = folder.with_name("wonderland-bigger")
    for path in train.checkpoints(folder) + train.checkpoints(bigger):
        assert called(capsys, path, "--length", 1).err == f"Using {path}\n"


def test_a_prompt_ends_the_seed(folder, capsys):
    args = (folder, "--length", 1, "--random-seed", 3)
    seed = parts(called(capsys, *args).out)[0]
    prompted = parts(called(capsys, *args, "--prompt", "Alice was ").out)[0]
    assert prompted == seed[10:] + "alice was "
    line = fails(capsys, generate.main, folder, "--prompt", "Alice: 4 % ~")
    assert "--prompt" in line and "'%4~'" in line


def test_without_its_text_a_network_needs_a_prompt_of_a_whole_window(folder, capsys):
    text, prompt = train.HERE / "data" / "wonderland.txt", "alice was tired " * 10
    text.write_text(BOOK[:600])
    line = fails(capsys, generate.main, folder, "--prompt", prompt[:99])
    assert f"{text} is another text; put the text of these weights back" in line
    text.unlink()
    line = fails(capsys, generate.main, folder)
    assert f"cannot read {text}" in line
    assert "put the text of these weights back, or --prompt 100 characters" in line
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


def test_extreme_temperatures_are_the_likeliest_and_the_uniform_choice():
    prediction, rng = np.array([0.0, 0.2, 0.8], "float32"), np.random.default_rng(0)
    for temperature, drawn in ((0, {2}), (1e-300, {2}), (1e300, {0, 1, 2})):
        draws = {generate.choose(prediction, temperature, rng) for _ in range(50)}
        assert draws == drawn


def test_a_damaged_checkpoint_is_passed_over(folder, capsys):
    damaged, readable = train.checkpoints(folder)
    damaged.write_bytes(damaged.read_bytes()[:100_000])
    warning, using = called(capsys, folder, "--length", 1).err.splitlines()
    assert warning.startswith(f"Warning: passed over {damaged}: damaged, ")
    assert using == f"Using {readable}"


def fails_to_load(capsys, path):
    """Let generate.py fail on path, and return its warnings of checkpoints."""
    with pytest.raises(SystemExit, match="2"):
        generate.main([str(path)])
    *warnings, error = capsys.readouterr().err.splitlines()
    assert f"error: no checkpoint in {path} can be loaded" in error
    return warnings


def test_without_a_checkpoint_that_loads_there_is_an_error(folder, capsys):
    best, second = train.checkpoints(folder)
    best.write_bytes(b"\x89HDF\r\n\x1a\n")
    assert f"{best}: damaged, " in fails_to_load(capsys, best)[0]
    second.write_bytes(b"")
    assert len(fails_to_load(capsys, folder)) == 2


@pytest.mark.parametrize(
    "changes",
    [{"units": 128}, {"layers": 2}, {"vocab": "abc"}, {"dropout": 5}, {"layers": "2"}],
    ids=str,
)
def test_a_run_json_of_another_network_or_of_none_is_an_error(folder, capsys, changes):
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    warnings = fails_to_load(capsys, folder)
    assert len(warnings) == 2
    for warning in warnings:
        assert str(folder) in warning and "not of run.json's network" in warning


def test_an_unusable_run_json_is_an_error_that_changes_nothing(folder, capsys):
    path, text = folder / "run.json", train.HERE / "data" / "wonderland.txt"
    path.unlink()
    for content in (None, "", "{", "null", "[1]", "\0"):
        if content is not None:
            path.write_text(content)
        before = sorted(folder.iterdir())
        assert f"{path} describes no run: " in fails(capsys, generate.main, folder)
        line = fails(capsys, train.main, text, "--weights", folder)
        assert f"{path} describes no run: " in line
        assert sorted(folder.iterdir()) == before


def test_a_run_json_that_names_no_text_is_an_error(folder, capsys):
    settings = json.loads((folder / "run.json").read_text())
    del settings["text"], settings["sha256"]
    (folder / "run.json").write_text(json.dumps(settings))
    assert "put the text of these weights back" in fails(capsys, generate.main, folder)


def test_a_run_without_checkpoints_says_to_train_first(folder, capsys, tmp_path):
    names = ("nowhere", "", "no.weights.h5", 300 * "x")
    for missing in (tmp_path / name for name in names):
        line = fails(capsys, generate.main, missing)
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
