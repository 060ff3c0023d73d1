"""The weights that ship: that they are real, and that the README says what they do."""

import csv
import re
import shlex
import shutil
from pathlib import Path

import h5py
import measure_loss
import pytest
from conftest import ROOT

import generate
import train

README = (ROOT / "README.md").read_text(encoding="utf-8")
PRETRAINED = ROOT / "weights" / "pretrained"
SAMPLE = r"^\$ python generate\.py ?(.*)\n(?:Using .*\n)?(Seed:\n[\s\S]*?\nDone\.\n)"


NEW = "wonderland-one-hot-every-character"
LOSSES = {"wonderland": 1.5655, "wonderland-bigger": 0.9330, NEW: 0.9996}


@pytest.mark.parametrize("name", LOSSES)
def test_the_weights_have_the_loss_that_the_readme_claims(name):
    settings = train.read_settings(PRETRAINED / name)
    model, _ = train.load_best(settings, train.checkpoints(PRETRAINED / name))
    raw_text = train.load_text(train.TEXT, settings["encoding"])
    encoded = train.encode(raw_text, settings["vocab"])
    loss = measure_loss.loss(model, encoded, 50)
    assert loss == pytest.approx(LOSSES[name], abs=0.002)
    assert f"{LOSSES[name]:.4f}" in README


def log_of(folder):
    """Return the losses in the folder's log, by epoch, counted from 1."""
    with (folder / "log.csv").open(newline="") as file:
        rows = csv.DictReader(file)
        return {int(row["epoch"]) + 1: float(row["loss"]) for row in rows}


@pytest.mark.parametrize("name", [*LOSSES, "christmas-carol"])
def test_the_weights_are_the_best_in_the_log_without_the_optimizers_state(name):
    (path,) = train.checkpoints(PRETRAINED / name)
    losses = log_of(PRETRAINED / name)
    epoch = min(losses, key=losses.get)
    assert train.loss_and_epoch(path) == (round(losses[epoch], 4), epoch)
    with h5py.File(path) as file:
        assert "layers" in file and "optimizer" not in file


def test_the_readmes_losses_are_the_logs():
    runs = ("wonderland", "wonderland-bigger", "christmas-carol")
    alice, bigger, carol = (log_of(PRETRAINED / name) for name in runs)
    epochs = [list(run) for run in (alice, bigger, carol)]
    assert epochs == [list(range(1, n + 1)) for n in (30, 50, 20)]
    row = r"loss at epoch (\d+) \|.*\| (\d\.\d{4}) \|$"
    table = {int(a): float(b) for a, b in re.findall(row, README, re.MULTILINE)}
    losses = {19: alice, 30: alice, 47: bigger, 50: bigger, 20: carol}
    assert table == {epoch: round(run[epoch], 4) for epoch, run in losses.items()}
    curves = re.findall(r"^ *line \[(.*)\]$", README, re.MULTILINE)
    for run, curve in zip((alice, bigger), curves, strict=True):
        lowest = [min(list(run.values())[:epoch]) for epoch in range(5, 51, 5)]
        assert curve == ", ".join(f"{loss:.2f}" for loss in lowest)


def test_the_readmes_commands_print_the_readmes_samples(project, monkeypatch, capsys):
    monkeypatch.setattr(train, "HERE", project)
    monkeypatch.chdir(project)
    shutil.copy(train.TEXT, project / "data")
    shutil.copytree(PRETRAINED, project / "weights" / "pretrained")
    samples = re.findall(SAMPLE, README, re.MULTILINE)
    assert len(samples) == 5
    for args, stdout in samples:
        generate.main(shlex.split(args))
        captured = capsys.readouterr()
        assert captured.out == stdout
        folder = re.search(r"^(?:weights/(\S*))?", args)[1] or "wonderland"
        assert str(Path("pretrained", folder, "weights-")) in captured.err


def test_the_english_sample_is_no_more_of_the_book_than_the_readme_says():
    stdouts = [
        out for args, out in re.findall(SAMPLE, README, re.MULTILINE) if NEW in args
    ]
    book, written = train.load_text(train.TEXT, "utf-8"), stdouts[0].split(' "\n', 1)[1]
    longest = 1
    while any(
        written[i : i + longest + 1] in book for i in range(len(written) - longest)
    ):
        longest += 1
    assert f"{longest} characters" in README
