"""A student's changes: each row of the README's table, and others like them."""

import re
import textwrap

import keras
import numpy as np
import pytest
from conftest import (
    README,
    STEPS,
    TEXT,
    best_of,
    edited,
    fails,
    losses_in,
    rows_of,
    run,
    train_in,
    windows_of,
)

import generate
import train

# The README's table


SAMPLE = re.search(r"```python\n(import generate\n[\s\S]*?)```", README)[1]


def exercises():
    """Return each row of the table: its name, its flags, the edits, and its last cell."""
    found = {}
    table = README.split("## For courses", 1)[1].split("\n## ", 1)[0]
    _, *rows = rows_of(table)
    for exercise, find, write, earlier in rows:
        name, *flags = re.split(r", with `|`", exercise)
        old, new = (re.search("`(.+?)`", cell)[1] for cell in (find, write))
        edits = [(old, f"{new}\n    {old}" if "above" in write else new)]
        if "lines below" in write:
            place = "    # define the checkpoint"
            assert f"above `{place.strip()}`, indented like it" in table
            edits.append((place, textwrap.indent(SAMPLE, "    ") + place))
        found[name] = " ".join(flags).split(), edits, earlier
    return found


EXERCISES = exercises()
TRAINED = [name for name, (*_, earlier) in EXERCISES.items() if earlier != "writes"]
LOOK, THIRD, TENTH, BATCH, *_ = TRAINED


def do(name, folder, *flags):
    """Do an exercise of the table, for one epoch unless flags say otherwise."""
    own, edits, _ = EXERCISES[name]
    train_in(folder, "--epochs", 1, *own, *flags, main=edited(*edits).main)


def test_the_table_has_its_exercises():
    assert len(EXERCISES) == 14 and len(TRAINED) == 13


@pytest.mark.parametrize("name", TRAINED)
def test_an_exercise_goes_on_from_an_earlier_run_or_is_refused_as_the_table_says(
    tmp_path, capsys, name
):
    flags, edits, earlier = EXERCISES[name]
    folder = tmp_path / "weights"
    train_in(folder, "--epochs", 1, *flags)
    if earlier == "refused":
        args = [tmp_path / "book.txt", "--weights", folder, "--units", 16, *flags]
        line = fails(capsys, edited(*edits).main, *args)
        assert f"{folder} holds a run of another network." in line
        folder = tmp_path / "own"
        do(name, folder)
    do(name, folder, "--epochs", 2)
    assert f"Going on from {folder}" in capsys.readouterr().out
    generate.main([str(folder), "--length", "1"])
    assert "Done." in capsys.readouterr().out


def test_to_print_the_first_pattern_shows_the_tutorials_and_changes_nothing(
    tmp_path, capsys
):
    flags = ["--epochs", 2, "--random-seed", 1]
    train_in(tmp_path / "without", *flags)
    capsys.readouterr()
    do(LOOK, tmp_path / "with", *flags)
    X, y = windows_of(TEXT)
    assert f"Total Patterns:  400\n{X[0]} {y[0]}\n" in capsys.readouterr().out
    with_print, without = (losses_in(tmp_path / name) for name in ("with", "without"))
    assert with_print == pytest.approx(without, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "taken", "n_patterns"),
    [(THIRD, np.s_[::3], 134), (TENTH, np.s_[:40], 400), (BATCH, np.s_[:128], 400)],
)
def test_to_train_on_a_part_takes_the_same_windows_in_each_epoch(
    tmp_path, capsys, name, taken, n_patterns
):
    """At a rate of next to nothing, an epoch's loss is that over its windows."""
    flags = ["--learning-rate", 1e-9, "--dropout", 0, "--epochs", 2]
    do(name, tmp_path / "weights", *flags)
    assert f"Total Patterns:  {n_patterns}\n" in capsys.readouterr().out
    X, y = windows_of(TEXT)
    loss = best_of(tmp_path / "weights").evaluate(X[taken], y[taken], verbose=0)
    losses = losses_in(tmp_path / "weights")
    assert losses == pytest.approx({1: loss, 2: loss}, rel=1e-4)


@pytest.mark.parametrize("changed", ["another optimizer", "a rate that falls"])
def test_an_optimizer_or_schedule_of_ones_own_trains_as_it_says(tmp_path, changed):
    (name,) = (name for name in TRAINED if name.startswith(changed))
    for epochs in 1, 2:
        do(name, tmp_path / "weights", "--epochs", epochs)
        optimizer = best_of(tmp_path / "weights").optimizer
        steps, rate = int(optimizer.iterations), float(optimizer.learning_rate)
        assert steps == epochs * STEPS
        if changed == "another optimizer":
            assert isinstance(optimizer, keras.optimizers.SGD) and rate == 0.5
        else:
            cosine = 0.0005 * (1 + np.cos(np.pi * steps / 10_000))
            assert rate == pytest.approx(cosine, rel=1e-4)


def test_held_out_accuracy_by_hand_is_keras_own(tmp_path, capsys):
    by_keras, by_hand = "print the accuracy", "held-out accuracy by hand"
    both = edited(*EXERCISES[by_keras][1], *EXERCISES[by_hand][1])
    flags = ["--validation-split", 0.25, "--epochs", 8]
    flags += ["--one-hot", "--learning-rate", 0.02]  # so that predictions vary
    train_in(tmp_path / "weights", *flags, main=both.main)
    *_, accuracy = losses_in(tmp_path / "weights", "val_accuracy").values()
    assert float(capsys.readouterr().out.splitlines()[-2]) == pytest.approx(accuracy)


def test_to_stop_early_ends_before_the_last_epoch(tmp_path):
    flags = ["--learning-rate", 1e-9, "--epochs", 20]
    do("stop early", tmp_path / "weights", *flags)
    losses = losses_in(tmp_path / "weights", "val_loss")
    assert 3 <= len(losses) < 20 and min(losses, key=losses.get) == len(losses) - 2


def test_a_text_after_each_epoch_is_by_the_network_that_is_trained(tmp_path, capsys):
    folder = tmp_path / "weights"
    _, (in_list, (place, lines)), _ = EXERCISES["write after each epoch"]
    greedy = edited(in_list, (place, lines.replace("200, 0.5", "200")))
    flags = ["--one-hot", "--learning-rate", 0.01, "--epochs", 1]
    train_in(folder, *flags, main=greedy.main)
    printed = capsys.readouterr().out
    written = generate.write(best_of(folder), windows_of(TEXT)[0][0], 200)
    text = "".join(sorted(set(TEXT))[index] for index in written)
    assert f"{text}\n" in printed and len(text) == 200


def test_to_draw_among_the_likeliest_draws_among_them():
    _, edits, _ = EXERCISES["draw among the 10 likeliest"]
    rng = np.random.default_rng(1)
    prediction = rng.permutation(np.arange(1, 41)) / 820
    choose = edited(*edits, script=generate).choose
    drawn = {choose(prediction, 1, rng) for _ in range(1000)}
    assert drawn == set(np.argsort(prediction)[-10:])


# Others like them


RETURN = "    return model\n\n\ndef name_with_checksum"
OWN = RETURN, RETURN.replace("model", "keras.Model(model.inputs, model.outputs)", 1)
ANY_LENGTH = "keras.Input((SEQ_LENGTH, 1))", "keras.Input((None, 1))"


@pytest.mark.parametrize("edit", [OWN, ANY_LENGTH], ids=["functional", "any length"])
def test_generate_writes_with_a_network_that_only_build_model_names(
    tmp_path, capsys, edit
):
    folder = tmp_path / "weights"
    for epochs in 1, 2:
        train_in(folder, "--epochs", epochs, main=edited(edit).main)
    assert "with 1 of 2 epochs done\n" in capsys.readouterr().out
    generate.main([str(folder), "--length", "5"])
    assert "Done." in capsys.readouterr().out


def test_a_layer_that_cannot_be_loaded_again_fails_before_the_first_epoch(tmp_path):
    lambdas = edited(("layers.Dropout(args.dropout)", "layers.Lambda(lambda x: x)"))
    with pytest.raises(ValueError, match="Lambda"):
        train_in(tmp_path / "weights", "--epochs", 1, main=lambdas.main)
    assert not (tmp_path / "weights").exists()


def test_to_change_x_but_not_y_fails_as_it_would_for_fit(tmp_path):
    third = edited(("X = patterns[:, :-1", "X = patterns[::3, :-1"))
    with pytest.raises(AssertionError):
        train_in(tmp_path / "weights", main=third.main)


@pytest.mark.parametrize("mistake", ["[].mine", "open('mine.npy')"])
def test_a_students_mistake_keeps_its_traceback(project, mistake):
    path, line = project / "train.py", "    if args.one_hot:\n"
    code = path.read_text("utf-8")
    assert code.count(line) == 1
    path.write_text(code.replace(line, f"    {mistake}\n{line}"), "utf-8")
    ended = run(project, "train.py")
    assert "Traceback" in ended.stderr and f"\n    {mistake}\n" in ended.stderr
    assert re.search("Error: .*mine", ended.stderr.splitlines()[-1])


def test_drawing_without_a_generator_draws_anew_each_time():
    model = train.build_model(train.parse_arguments(["--units", "8"]), 43)
    model.compile()
    first, second = (list(generate.write(model, [0] * 100, 30, 1)) for _ in range(2))
    assert len(first) == 30 and first != second
