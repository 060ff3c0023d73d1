"""Generation: what it prints, the decode against the tutorial's loop, bad input."""

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
from conftest import BOOK, TEXT, edited, fails, interrupt, only_unix, run, train_in

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
    "flags",
    [
        "",
        "--layers 2",
        "--one-hot",
        "--every-character",
        "--one-hot --every-character --layers 2 --units 48 --input-dropout 0.5",
    ],
)
def test_the_text_equals_that_of_the_tutorials_loop(tmp_path, capsys, flags):
    (tmp_path / "text.txt").write_text(BOOK.lower(), "utf-8")
    chars = sorted(set(BOOK.lower()))
    keras.utils.set_random_seed(2)
    args = train.parse_arguments(["--units", "64", *flags.split()])
    model = train.build_model(args, len(chars))
    model.name = train.name_with_checksum(chars)
    model.set_weights([6 * weights for weights in model.get_weights()])
    model.save(tmp_path / "weights-improvement-01-1.0000.keras")

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
    ended = run(tmp_path, finished / "generate.py", "--random-seed", 1)
    assert ended.returncode == 0, ended.stderr
    seed, generated = parts(ended.stdout)
    assert seed in TEXT and len(generated) == 1000 and set(generated) <= set(TEXT)
    best = train.checkpoints(finished / "weights" / "wonderland")[0][2]
    assert f"Using {best}\n" in ended.stderr


@only_unix
def test_a_reader_that_stops_early_is_no_error(finished):
    command = f"{sys.executable} generate.py --random-seed 1 | head -c 200"
    command = ["bash", "-o", "pipefail", "-c", command]
    ended = subprocess.run(command, cwd=finished, capture_output=True, check=True)
    assert len(ended.stdout) == 200 and b"BrokenPipe" not in ended.stderr


def test_the_text_is_utf8_whatever_the_console_is(trained):
    text = "świt i déjà vu, \N{GRINNING FACE}. " * 10
    train_in(trained / "polish", "--epochs", 1, text=text)
    old_console = os.environ | {"PYTHONIOENCODING": "cp1252"}
    args = ["generate.py", "polish", "--random-seed", 1, "--length", 5]
    ended = run(trained, *args, env=old_console, encoding="utf-8")
    assert ended.returncode == 0, ended.stderr
    assert parts(ended.stdout)[0] in text


def test_a_random_seed_repeats_the_text(folder, capsys):
    args = (folder, "--length", 50, "--temperature", 1, "--random-seed")
    first, again, other = (parts(called(capsys, *args, n).out) for n in (1, 1, 2))
    assert first == again and first[0] != other[0] and first[1] != other[1]


def test_one_checkpoint_of_either_network_can_be_named(folder, capsys):
    found = [*train.checkpoints(folder), *train.checkpoints(Path(f"{folder}-bigger"))]
    assert len(found) == 3
    for _, _, path in found:
        assert called(capsys, path, "--length", 1).err == f"Using {path}\n"


def test_a_prompt_ends_the_seed(folder, capsys):
    args = (folder, "--length", 1, "--random-seed", 3)
    seed = parts(called(capsys, *args).out)[0]
    prompted = parts(called(capsys, *args, "--prompt", "Alice was ").out)[0]
    assert prompted == seed[10:] + "alice was "
    line = fails(capsys, generate.main, folder, "--prompt", "Alice: 4 % ~")
    assert "'%4~'" in line


@pytest.mark.parametrize("content", [TEXT.replace("a", "A"), "a", "", "no UTF-8"])
def test_a_text_with_other_characters_than_the_networks_is_refused(
    folder, capsys, content
):
    text = folder / "text.txt"
    text.write_bytes(b"\xff\xfe" if content == "no UTF-8" else content.encode())
    assert f"and {text} are not as" in fails(capsys, generate.main, folder)


def test_symbols_in_another_order_are_refused(tmp_path, capsys):
    backwards = edited(("sorted(set(raw_text))", "sorted(set(raw_text))[::-1]"))
    train_in(tmp_path / "weights", "--epochs", 1, main=backwards.main)
    line = fails(capsys, generate.main, tmp_path / "weights")
    assert "text.txt are not as train.py saved them together" in line


@pytest.mark.parametrize("lacking", ["text", "train.py", "text and train.py"])
def test_a_network_without_its_text_or_of_another_listing_is_refused(
    folder, capsys, lacking
):
    path, text = train.checkpoints(folder)[0][2], folder / "text.txt"
    if "text" in lacking:
        text.unlink()
    if "train.py" in lacking:
        keras.Sequential([keras.Input((100, 1)), keras.layers.LSTM(20)]).save(path)
    line = fails(capsys, generate.main, path)
    assert line == f"{path} and {text} are not as train.py saved them together."


@only_unix
def test_a_text_that_cannot_be_written_ends_in_one_line(finished):
    with Path("/dev/full").open("w") as full:
        ended = run(finished, "generate.py", "--length", 5, stdout=full)
    assert ended.returncode and "Traceback" not in ended.stderr
    assert "No space left on device" in ended.stderr


def test_temperature_samples_from_the_sharpened_or_flattened_distribution():
    prediction = np.array([0.7, 0.2, 0.1], dtype="float32")
    rng = np.random.default_rng(0)
    for temperature in (0.5, 1.0, 2.0):
        draws = [generate.choose(prediction, temperature, rng) for _ in range(5000)]
        expected = prediction ** (1 / temperature)
        frequencies = np.bincount(draws, minlength=3) / len(draws)
        np.testing.assert_allclose(frequencies, expected / expected.sum(), atol=0.03)
    assert generate.choose(np.full(43, 1 / 43), 1e-4, rng) < 43  # no underflow


def test_weights_that_ship_serve_until_there_are_the_users_own(folder, capsys):
    shipped = Path(shutil.copytree(folder, folder.parent / "pretrained" / folder.name))
    best = train.checkpoints(folder)[0][2].name
    for _, _, path in train.checkpoints(folder):  # as in the first epoch of training
        path.unlink()
    err = called(capsys, folder, "--length", 1).err
    assert err == f"Using {shipped / best}\n"
    shutil.copy(shipped / best, folder)
    assert called(capsys, folder, "--length", 1).err == f"Using {folder / best}\n"


@pytest.mark.parametrize(
    "name",
    [
        "nowhere",
        "data/wonderland.txt",
        "old.hdf5",
        "data",
    ],
)
def test_what_is_no_checkpoint_says_what_is_one(folder, capsys, name):
    (train.HERE / "old.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n")
    line = fails(capsys, generate.main, train.HERE / name)
    for part in str(train.HERE / name), "train.py", "weights-improvement-*.keras":
        assert part in line


def test_a_checkpoint_that_is_not_there_is_not_replaced(folder, capsys):
    path = folder / "weights-improvement-1-1.0.keras"
    line = fails(capsys, generate.main, path)
    assert "No such file or directory" in line and path.name in line
    path.write_bytes(b"cut short")
    line = fails(capsys, generate.main, path)
    assert line.startswith(f"No usable checkpoint in {path}.")


@only_unix
def test_ctrl_c_ends_a_text_in_four_lines(finished, tmp_path):
    path, command = tmp_path / "out.txt", ["generate.py", "--length", 1_000_000]
    with path.open("w") as out:
        ready = lambda: path.stat().st_size > 200
        status, stderr = interrupt(finished, command, signal.SIGINT, ready, out)
    assert status == -signal.SIGINT  # by which a shell's loop ends, too
    traceback = stderr[stderr.index("Traceback") :].splitlines()
    assert traceback[-1] == "KeyboardInterrupt" and len(traceback) == 4


def test_the_command_leaves_the_gpu_alone_and_the_module_its_free_memory(finished):
    code = """
import os, runpy, sys
import generate
print(os.environ["CUDA_VISIBLE_DEVICES"], os.environ["TF_FORCE_GPU_ALLOW_GROWTH"])
sys.argv[1:] = ["--length", "1"]
runpy.run_path("generate.py", run_name="__main__")
print(os.environ["CUDA_VISIBLE_DEVICES"])
"""
    users = os.environ | {"CUDA_VISIBLE_DEVICES": "0"}  # as Slurm sets it
    first, *_, last = run(finished, "-c", code, env=users).stdout.splitlines()
    assert (first, last) == ("0 true", "-1")
