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
from conftest import BOOK, TEXT, fails, run

import generate
import train


def parts(stdout):
    """Return the seed and the generated text of a stdout of exactly their form."""
    match = re.fullmatch(r'Seed:\n" (.{100}) "\n(.*)\nDone\.\n', stdout, re.DOTALL)
    assert match, stdout
    return match[1], match[2]


NETWORKS = [{}, {"layers": 2}, {"one_hot": True}, {"every_character": True}]
NETWORKS += [{"one_hot": True, "every_character": True, "layers": 2, "units": 48}]
NETWORKS[-1]["input_dropout"] = 0.5


@pytest.mark.parametrize("changes", NETWORKS, ids=str)
def test_decoding_equals_the_tutorials_loop(changes, monkeypatch):
    vocab = "".join(map(chr, range(40)))
    settings = {"vocab": vocab, "seq_length": 30, "units": 64, "layers": 1}
    keras.utils.set_random_seed(2)
    model = train.build_model(train.NETWORK | settings | changes)
    model.set_weights([6 * weights for weights in model.get_weights()])
    first = pattern = np.random.randint(40, size=30).tolist()
    expected, expected_indices = [], []
    for _ in range(40):
        x = np.reshape(pattern, (1, len(pattern), 1))
        expected.append(model.predict_on_batch(x).reshape(-1, 40)[-1])
        expected_indices.append(np.argmax(expected[-1]))
        pattern = [*pattern[1:], expected_indices[-1]]
    assert len(set(expected_indices)) > 5  # a text that does not just repeat itself

    predictions, choose, rng = [], generate.choose, np.random.default_rng()

    def record(prediction, *args):
        predictions.append(prediction)
        return choose(prediction, *args)

    monkeypatch.setattr(generate, "choose", record)
    assert list(generate.generate(model, first, 40, 0, rng)) == expected_indices
    np.testing.assert_allclose(predictions, expected, atol=1e-4)


def test_the_output_is_the_tutorials_from_any_folder(finished, tmp_path):
    ended = run(tmp_path, finished[0] / "generate.py", "--random-seed", 1)
    assert ended.returncode == 0, ended.stderr
    seed, generated = parts(ended.stdout)
    assert seed in TEXT
    assert len(generated) == 1000
    assert set(generated) <= set(TEXT)
    best = train.checkpoints(finished[0] / "weights" / "wonderland")[0]
    assert f"Using {best} \n" in ended.stderr


def test_a_reader_that_stops_early_is_no_error(finished):
    command = f"{sys.executable} generate.py --random-seed 1 | head -c 200"
    command = ["bash", "-o", "pipefail", "-c", command]
    options = {"cwd": finished[0], "capture_output": True, "text": True}
    ended = subprocess.run(command, check=True, **options)
    assert len(ended.stdout) == 200
    assert "BrokenPipe" not in ended.stderr


SWITCHES = {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
SWITCHES["TF_NUM_INTRAOP_THREADS"] = str(max(1, os.cpu_count() // 2))
USERS = {
    "CUDA_VISIBLE_DEVICES": "0",
    "JAX_PLATFORMS": "",
    "TF_NUM_INTRAOP_THREADS": "7",
}


@pytest.mark.parametrize("users", [{}, USERS])
def test_generation_keeps_to_the_cpu_and_its_threads_unless_told_otherwise(
    project, users
):
    environment = {k: v for k, v in os.environ.items() if k not in SWITCHES} | users
    code = f"""
import os, runpy, sys
sys.argv = ["generate.py", "--help"]
try:
    runpy.run_path("generate.py", run_name="__main__")
except SystemExit:
    print([os.environ[name] for name in {list(SWITCHES)}])
"""
    ended = run(project, "-c", code, env=environment)
    assert ended.stdout.endswith(f"{list((users or SWITCHES).values())}\n")


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


def test_the_texts_encoding_is_remembered(folder, capsys):
    text, weights = folder / "text.txt", folder.with_name("accented")
    text.write_bytes(("déjà vu, " * 15).encode("latin-1"))
    args = ["--encoding", "latin-1", "--epochs", "1", "--units", "8"]
    train.main([str(text), *args, "--weights", str(weights)])
    capsys.readouterr()
    assert "déjà vu" in parts(called(capsys, weights, "--length", 5).out)[0]


def test_one_checkpoint_of_either_network_can_be_named(folder, capsys):
    bigger = folder.with_name("wonderland-bigger")
    for path in train.checkpoints(folder) + train.checkpoints(bigger):
        assert called(capsys, path, "--length", 1).err == f"Using {path} \n"


def test_a_prompt_ends_the_seed(folder, capsys):
    args = (folder, "--length", 1, "--random-seed", 3)
    seed = parts(called(capsys, *args).out)[0]
    prompted = parts(called(capsys, *args, "--prompt", "Alice was ").out)[0]
    assert prompted == seed[10:] + "alice was "


def test_a_prompt_of_a_whole_window_needs_no_text(folder, capsys):
    text, prompt = train.HERE / "data" / "wonderland.txt", "alice was tired " * 10
    text.write_text(BOOK[:600])
    line = fails(capsys, generate.main, folder, "--prompt", prompt[:99])
    assert f"was trained on another text than {text}" in line
    text.unlink()
    assert f"cannot read {text}" in fails(capsys, generate.main, folder)
    assert parts(called(capsys, folder, "--prompt", prompt).out)[0] == prompt[-100:]
    line = fails(capsys, generate.main, folder, "--prompt", "Alice: 4 % ~")
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
    prediction, rng = np.array([0.0, 0.2, 0.8], "float32"), np.random.default_rng(0)
    for temperature, drawn in ((0, {2}), (1e-300, {2}), (1e300, {0, 1, 2})):
        draws = {generate.choose(prediction, temperature, rng) for _ in range(50)}
        assert draws == drawn


def test_a_damaged_checkpoint_is_passed_over(folder, capsys):
    damaged, readable = train.checkpoints(folder)
    damaged.write_bytes(damaged.read_bytes()[:100_000])
    err = called(capsys, folder, "--length", 1).err
    passed_over = f"(1 passed over, {damaged}, damaged or being written: "
    assert err.startswith(f"Using {readable} {passed_over}")
    assert err.count("\n") == 1


def test_nothing_but_damaged_checkpoints_is_an_error(folder, capsys):
    paths = train.checkpoints(folder)
    for path in paths:
        path.write_bytes(b"\x89HDF\r\n\x1a\n")
    for argument, last in ((folder, paths[1]), (paths[0], paths[0])):
        assert f"{last}, damaged or being written: " in fails(
            capsys, generate.main, argument
        )


def test_weights_that_are_no_numbers_are_an_error(folder, capsys):
    path = train.checkpoints(folder)[0]
    model, _, _ = train.load_best(train.read_settings(folder), [path])
    model.set_weights([np.nan * weights for weights in model.get_weights()])
    model.save_weights(path)
    for temperature in (0, 1):
        assert str(path) in fails(
            capsys, generate.main, folder, "--temperature", temperature
        )


MISFITS = [{"units": 128}, {"layers": 2}, {"vocab": "abc"}, {"vocab": "ab" * 15}]
MISFITS += [{"seq_length": 500}]
NO_NETWORKS = [{"dropout": 5}, {"units": 0}, {"layers": "2"}, {"vocab": ""}]
NO_NETWORKS += [{"seq_length": -1}]


@pytest.mark.parametrize("changes", MISFITS + NO_NETWORKS)
def test_a_run_json_of_another_network_or_of_none_is_an_error(folder, capsys, changes):
    path = folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    line = fails(capsys, generate.main, folder)
    assert str(folder) in line
    assert (f"{path} describes no network: " in line) == (changes in NO_NETWORKS)


def test_an_unusable_run_json_is_an_error_that_changes_nothing(folder, capsys):
    path, text = folder / "run.json", train.HERE / "data" / "wonderland.txt"
    for content in ("", "{", "null", "[1]", '{"vocab": "abc"}', "\0", None):
        path.unlink() if content is None else path.write_text(content)
        before = sorted(folder.iterdir())
        assert f"{path} describes no network: " in fails(capsys, generate.main, folder)
        line = fails(capsys, train.main, text, "--weights", folder)
        assert f"{path} describes no network: " in line
        assert sorted(folder.iterdir()) == before


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
    assert err == f"Using {shipped / best} \n"
    shutil.copy(shipped / best, folder)
    assert called(capsys, folder, "--length", 1).err == f"Using {folder / best} \n"


def test_a_number_that_makes_no_sense_is_an_error(folder, capsys):
    bad = ["--length=0", "--length=2.5", "--random-seed=-1", "--random-seed=x"]
    bad += [f"--temperature={value}" for value in ("-0.1", "nan", "inf", "-inf", "hot")]
    for argument in bad:
        flag, value = argument.split("=")
        line = fails(capsys, generate.main, folder, argument)
        assert flag in line and repr(value) in line
