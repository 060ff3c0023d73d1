"""A student's changes: what exercises.md has, and others like that."""

import re
import shutil
import sys
import textwrap
import types

import keras
import numpy as np
import pytest
from conftest import (
    BOOK,
    COURSES,
    ROOT,
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

# The page's table


SAMPLE, PLOT, *BESIDE = re.findall(r"```python\n([\s\S]*?)```", COURSES)


def exercises():
    """Return each row of the table: its name, its flags, the edits, and its last cell."""
    found = {}
    _, *rows = rows_of(COURSES)
    for exercise, find, write, earlier in rows:
        name, _, flags = exercise.partition(", with ")
        olds, news = (re.findall("`([^`]+)`", cell) for cell in (find, write))
        edits = list(zip(olds[: len(news)], news, strict=True))
        if "above" in write:
            edits = [(old, f"{new}\n    {old}") for old, new in edits]
        if "lines below" in write:
            place = "    # define the checkpoint"
            assert f"above `{place.strip()}`, indented like it" in COURSES
            edits.append((place, textwrap.indent(SAMPLE, "    ") + place))
        found[re.sub(r" \(in .*", "", name)] = flags.strip("`").split(), edits, earlier
    return found


EXERCISES = exercises()
TRAINED = [name for name, (*_, earlier) in EXERCISES.items() if earlier != "writes"]


def named(*beginnings):
    """Return the exercises' names that begin so."""
    names = [[name for name in EXERCISES if name.startswith(b)] for b in beginnings]
    assert all(len(found) == 1 for found in names)
    return [found[0] for found in names]


LOOK, LAYERS, UPPER, THIRD, TENTH, BATCH = named(
    "look", "list", "keep upper", "take", "train on", "learn one batch"
)


def do(name, folder, *flags, text=TEXT):
    """Do an exercise of the table, for one epoch unless flags say otherwise."""
    own, edits, _ = EXERCISES[name]
    flags = ["--epochs", 1, *own, *flags]
    train_in(folder, *flags, text=text, main=edited(*edits).main)


def test_the_table_has_its_exercises():
    assert len(EXERCISES) == 17 and len(TRAINED) == 16


@pytest.mark.parametrize("name", TRAINED)
def test_an_exercise_goes_on_from_an_earlier_run_or_is_refused_as_the_table_says(
    tmp_path, capsys, name
):
    flags, edits, earlier = EXERCISES[name]
    folder, text = tmp_path / "weights", BOOK[:500]  # with upper case
    train_in(folder, *flags, "--epochs", 1, text=text)
    if earlier == "refused":
        args = [tmp_path / "book.txt", "--weights", folder, "--units", 16, *flags]
        line = fails(capsys, edited(*edits).main, *args)
        another = "text" if name == UPPER else "network"
        assert f"{folder} holds a run of another {another}." in line
        assert "(`holds a run of another network`, or `of another text`)" in COURSES
        folder = tmp_path / "own"
        do(name, folder, "--epochs", 1, text=text)
    do(name, folder, "--epochs", 2, text=text)
    assert f"Going on from {folder}" in capsys.readouterr().out
    generate.main([str(folder), "--length", "1"])
    assert "Done." in capsys.readouterr().out


def test_to_look_at_the_first_pattern_or_the_layers_changes_nothing(tmp_path, capsys):
    flags = ["--epochs", 2, "--random-seed", 1]
    train_in(tmp_path / "without", *flags)
    without = losses_in(tmp_path / "without")
    for name, shown in (
        (LOOK, f"Patterns:  400\n{TEXT[:100]!r}\n"),
        (LAYERS, "lstm (LSTM)"),
    ):
        capsys.readouterr()
        do(name, tmp_path / name, *flags)
        assert shown in capsys.readouterr().out
        assert losses_in(tmp_path / name) == pytest.approx(without, rel=1e-4)


def test_upper_case_is_kept_in_text_and_prompt(tmp_path, capsys):
    text = TEXT.title()
    do(UPPER, tmp_path / "weights", text=text)
    assert f"Total Vocab:  {len(set(text))}\n" in capsys.readouterr().out
    old, new = "args.prompt.lower()", "args.prompt"
    assert f"`{new}` for `{old}`" in COURSES
    args = [str(tmp_path / "weights"), "--length", "1", "--prompt", " Alice Was "]
    edited((old, new), script=generate).main(args)
    assert ' Alice Was  "\n' in capsys.readouterr().out


def test_one_batch_is_learned_by_heart_and_quoted(tmp_path, capsys):
    do(BATCH, tmp_path / "weights", "--random-seed", 1)
    loss, epoch, _ = train.checkpoints(tmp_path / "weights")[0]
    assert loss < 0.3 and 100 < epoch <= 120
    capsys.readouterr()
    args = [str(tmp_path / "weights"), "--prompt", TEXT[:100], "--length", "128"]
    generate.main(args)
    assert TEXT[100:180] in capsys.readouterr().out


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


def test_an_optimizer_of_ones_own_trains_and_goes_on(tmp_path):
    for epochs in 1, 2:
        flags = ["--epochs", epochs, "--dropout", 0]  # so that the last is the best
        do("another optimizer", tmp_path / "weights", *flags)
        optimizer = best_of(tmp_path / "weights").optimizer
        assert optimizer.iterations == epochs * STEPS
        assert isinstance(optimizer, keras.optimizers.SGD)
        assert float(optimizer.learning_rate) == 0.5


def test_a_rate_that_falls_is_0_at_the_end_also_of_a_run_that_goes_on(tmp_path):
    (name,) = named("a rate that falls")
    for epochs in 1, 3:
        flags = ["--epochs", epochs, "--dropout", 0]  # so that the last is the best
        do(name, tmp_path / "weights", *flags)
        optimizer = best_of(tmp_path / "weights").optimizer
        assert optimizer.iterations == epochs * STEPS
        assert float(optimizer.learning_rate) == pytest.approx(0, abs=1e-9)


def test_held_out_accuracy_by_hand_is_keras_own(tmp_path, capsys):
    by_keras, by_hand = named("print the accuracy", "held-out accuracy")
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
    assert lines.count("200, 0.5, args.random_seed") == 1
    lines = lines.replace("200, 0.5, args.random_seed", "200")
    greedy = edited(in_list, (place, lines))
    flags = ["--one-hot", "--learning-rate", 0.01, "--epochs", 1]
    train_in(folder, *flags, main=greedy.main)
    printed = capsys.readouterr().out
    written = generate.write(best_of(folder), windows_of(TEXT)[0][0], 200)
    text = "".join(sorted(set(TEXT))[index] for index in written)
    assert f"{text}\n" in printed and len(text) == 200


def test_a_text_after_each_epoch_is_repeated_by_a_random_seed(tmp_path, capsys):
    texts = []
    for name in "first", "again":
        flags = ["--epochs", 1, "--random-seed", 1]
        do("write after each epoch", tmp_path / name, *flags)
        *_, printed = capsys.readouterr().out.split(".keras\n")
        texts.append(printed[:200])
    assert texts[0] == texts[1] and set(texts[0]) <= set(TEXT)


def test_to_draw_among_the_likeliest_draws_among_them():
    flags, edits, _ = EXERCISES["draw among the 10 likeliest"]
    temperature = generate.parse_arguments(flags).temperature
    rng = np.random.default_rng(1)
    prediction = rng.permutation(np.arange(1, 41)) / 820
    choose = edited(*edits, script=generate).choose
    drawn = {choose(prediction, temperature, rng) for _ in range(1000)}
    assert drawn == set(np.argsort(prediction)[-10:])


# The page's scripts


class Plots(types.ModuleType):
    """Takes the place of matplotlib.pyplot, and keeps what is drawn."""

    def __init__(self):
        super().__init__("pyplot")
        self.drawn, self.show = [], lambda: None
        self.bar = self.plot = lambda *args: self.drawn.append(args)


@pytest.fixture
def plots(monkeypatch):
    plots, package = Plots(), types.ModuleType("matplotlib")
    package.pyplot = plots
    monkeypatch.setitem(sys.modules, "matplotlib", package)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", plots)
    return plots


def test_the_plot_of_the_losses_has_each_epoch(finished, monkeypatch, plots):
    monkeypatch.chdir(finished)
    exec(PLOT.replace("NAME", "wonderland"), {})  # noqa: S102 - as on the page
    ((epochs, losses, _),) = plots.drawn
    found = losses_in(finished / "weights" / "wonderland")
    assert dict(zip(epochs, losses, strict=True)) == pytest.approx(found)


FOR_OTHERS = {  # what the comments say of other networks than modern
    "-modern": "",
    "[0, -1]  # other networks than modern: [0]": "[0]",
    "[:, -1]  # other networks: without [:, -1]": "",
    "windows[:, 1:]  # other networks: windows[:, -1]": "windows[:, -1]",
}


@pytest.mark.parametrize("network", ["modern", "first"])
def test_scripts_beside_the_pair_do_what_the_page_says(
    project, monkeypatch, capsys, plots, network
):
    monkeypatch.chdir(project)
    monkeypatch.setattr(train, "HERE", project)
    shutil.copytree(ROOT / "weights/pretrained", project / "weights/pretrained")
    text = TEXT.replace("alice", "älice") * 2  # a character that is not known
    (project / "data" / "pg46.txt").write_text(text, "utf-8")
    scripts = "\0".join(BESIDE)
    for old, new in FOR_OTHERS.items():
        assert scripts.count(old) == 1
        scripts = scripts.replace(old, new) if network == "first" else scripts
    begin, picture, bits, tune = scripts.split("\0")
    names = {}
    for code in begin, picture, bits, tune:
        exec(code, names)  # noqa: S102 - what it runs stands on the page
        if code == bits:
            before = float(capsys.readouterr().out.splitlines()[-1])
    ((chars, p),) = plots.drawn
    book = (project / "weights/pretrained/wonderland-modern/text.txt").read_text(
        "utf-8"
    )
    assert list(chars) == [repr(char) for char in sorted(set(book))]
    assert sum(p) == pytest.approx(1, rel=1e-4)
    assert network == "first" or chars[np.argmax(p)] == repr(book[100])

    *_, command = re.findall("`python (.*)`", COURSES)
    script, *args = command.split()
    capsys.readouterr()
    assert script == "generate.py"
    generate.main([*args, "--length", "5"])
    assert "Done." in capsys.readouterr().out
    exec(bits, names | {"model": generate.load("weights/tuned")[0]})  # noqa: S102
    assert 0 < float(capsys.readouterr().out.splitlines()[-1]) < before < 5


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
    third = edited(("X = windows[:, :-1", "X = windows[::3, :-1"))
    with pytest.raises(AssertionError):
        train_in(tmp_path / "weights", main=third.main)


MINE = """
    @keras.saving.register_keras_serializable()
    class Halving(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.01 / (1 + keras.ops.cast(step, "float32"))

        def get_config(self):
            return {}

    def mine(y, p):
        return keras.losses.sparse_categorical_crossentropy(y, p)

"""
DEFINE = "    # define the LSTM model"
LOSS = 'loss="sparse_categorical_crossentropy", optimizer=adam)'
FLOAT16 = '    keras.config.set_dtype_policy("mixed_float16")\n'


@pytest.mark.parametrize(
    "edits",
    [
        [(DEFINE, MINE + DEFINE), (LOSS, LOSS.replace(")", ", metrics=[mine])"))],
        [(DEFINE, MINE + DEFINE), (LOSS, "loss=mine, optimizer=adam)")],
        [(DEFINE, MINE + DEFINE), ("Adam(args.learning_rate,", "Adam(Halving(),")],
        [(DEFINE, FLOAT16 + DEFINE)],
    ],
    ids=["metric", "loss", "schedule", "mixed_float16"],
)
def test_a_metric_loss_or_schedule_of_ones_own_and_float16_train_and_go_on(
    tmp_path, capsys, edits
):
    try:
        for epochs in 1, 2:
            main = edited(*edits).main
            train_in(tmp_path / "weights", "--epochs", epochs, main=main)
    finally:
        keras.config.set_dtype_policy("float32")
    assert "with 1 of 2 epochs done\n" in capsys.readouterr().out
    generate.main([str(tmp_path / "weights"), "--length", "1"])
    assert "Done." in capsys.readouterr().out


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
