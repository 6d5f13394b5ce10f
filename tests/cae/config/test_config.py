from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cae.config import CAEConfig, Config, DataConfig
from cae.config.checks import check_config, find_problems
from cae.config.command_line import VERSION, load_config, parse, run_program, save_config, to_container
from cae.config.fields import all_options, all_sections, differing
from cae.errors import UserError

COMMANDS = {"classifier": "train the classifier", "cae": "train the CAE"}
ROOT = Path(__file__).parents[3]


def outcome(capsys, *argv: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a program that only parses."""

    def main(arguments: list[str]) -> None:
        parse(arguments, COMMANDS, "train.py")

    with pytest.raises(SystemExit) as stop:
        run_program(main, argv)
    printed = capsys.readouterr()
    return stop.value.code, printed.out, printed.err


def parsed(*argv: str):
    return parse(argv, COMMANDS, "train.py")


def write(folder: Path, text: str, name: str = "own.yaml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


BAD_ARGUMENTS = [
    # command and flags
    ([], ["no command given", "classifier, cae"]),
    (["clasifier"], ["first argument is the command", "'clasifier'", "did you mean 'classifier'"]),
    (["configs/lesions.yaml"], ["first argument is the command", "configs/lesions.yaml"]),
    (["cae", "--name=x"], ["'--name=x'", "without dashes", "name=VALUE"]),
    (["cae", "--print-confg"], ["unknown flag", "did you mean '--print-config'"]),
    # unknown names
    (["cae", "class_dim=4"], ["unknown option 'class_dim'", "did you mean 'cae.model.class_dim'"]),
    (["cae", "cae.class_dim=4"], ["unknown option", "'cae.model.class_dim'"]),
    (["cae", "model.class_dim=4"], ["unknown option", "'cae.model.class_dim'"]),
    (["cae", "cae.max_stps=4"], ["unknown option", "did you mean 'cae.max_steps'"]),
    (["cae", "bach_size=4"], ["unknown option", "'data.batch_size'"]),
    (["cae", "cea.pairs=4"], ["unknown option", "'cae.pairs'"]),
    (["cae", "xyzzy=4"], ["unknown option 'xyzzy'", "--help"]),
    (["cae", "=4"], ["unknown option ''"]),
    (["cae", "cae.model={clas_dim: 4}"], ["unknown option 'cae.model.clas_dim'", "'cae.model.class_dim'"]),
    # types
    (["cae", "cae.max_steps=many"], ["'cae.max_steps'", "a whole number", "many"]),
    (["cae", "cae.max_steps=1.5"], ["'cae.max_steps'", "a whole number", "1.5"]),
    (["cae", "cae.max_steps="], ["'cae.max_steps'", "a whole number", "null"]),
    (["cae", "cae.learning_rate=fast"], ["'cae.learning_rate'", "a number", "fast"]),
    (["cae", "cae.learning_rate=nan"], ["'cae.learning_rate'", "a number", "nan"]),
    (["cae", "overwrite=maybe"], ["'overwrite'", "true or false", "maybe"]),
    (["cae", "overwrite=2"], ["'overwrite'", "true or false", "2"]),
    (["cae", "manifold.embeddings=pca"], ["'manifold.embeddings'", "a list, written [a, b]", "got pca"]),
    (["cae", "name=[a,b]"], ["'name'", "text", "[a, b]"]),
    (["cae", "seed={a: 1}"], ["'seed'", "a whole number"]),
    (["cae", "classifier.mean=[0.5,x]"], ["'classifier.mean'", "a number", "x"]),
    (["cae", "classifier.mean=[[0.5]]"], ["'classifier.mean'", "must not nest"]),
    (["cae", "data=5"], ["'data' is a section", "image_size"]),
    (["cae", "manifold.embeddings=[pca"], ["not a valid list", "[pca"]),
    (["cae", "name=!!python/name:os.system"], ["'name'"]),
    (["cae", "manifold.embeddings=[!!python/name:os.system x]"], ["tags are not supported"]),
    # ranges and choices
    (["cae", "data.batch_size=0"], ["'data.batch_size'", "at least 1", "got 0"]),
    (["cae", "data.val_share=2"], ["'data.val_share'", "between 0 and 0.9", "got 2"]),
    (["cae", "data.source=foler"], ["'data.source'", "one of lesions, folder", "did you mean 'folder'"]),
    (["cae", "data.channels=2"], ["'data.channels'", "one of 1, 3", "got 2"]),
    (["cae", "resume=first"], ["'resume'", "one of last", "first"]),
    (["cae", "manifold.embeddings=[pca,tsn]"], ["'manifold.embeddings'", "pca, tsne, umap", "did you mean 'tsne'"]),
    (["cae", "data.lesions.classes=[healthy,bone]"], ["'data.lesions.classes'", "healthy, mass, cyst", "bone"]),
    # contradictions
    (["cae", "data.val_share=0.6", "data.test_share=0.4"], ["data.val_share (0.6)", "less than 1"]),
    (["cae", "data.source=folder"], ["data.source=folder needs data.path", "a folder of images"]),
    (["cae", "data.source=table"], ["needs data.path", ".csv"]),
    (["cae", "data.source=medmnist"], ["needs data.path", ".npz"]),
    (["cae", "data.source=paired"], ["needs data.path", "trainA_img"]),
    (["cae", "data.columns.lable=x"], ["'data.columns'", "'lable'", "did you mean 'label'"]),
    (["cae", "data.lesions.classes=[mass]"], ["'data.lesions.classes'", "at least two"]),
    (["cae", "data.lesions.classes=[mass,mass]"], ["names something twice", "at least two"]),
    (
        ["cae", "data.lesions.classes=[healthy,cyst]", "data.lesions.shortcut=0.5"],
        ["'data.lesions.shortcut_class' is 'mass'", "[healthy, cyst]"],
    ),
    (["cae", "cae.max_steps=90"], ["cae.ramp_steps (100)", "cae.max_steps (90)", "lower it"]),
    (
        ["cae", "cae.warmup_steps=200", "cae.max_steps=250"],
        ["cae.warmup_steps (200)", "cae.ramp_steps (100)", "cae.max_steps (250)"],
    ),
    (["cae", "counterfactual.reference=image"], ["needs counterfactual.reference_image"]),
    (["cae", "classifier.mean=[0.5]"], ["'classifier.mean' has 1", "'classifier.std' 0"]),
    (["cae", "classifier.mean=[0.5,0.5]", "classifier.std=[1,1]"], ["0, 1 (grey) or 3 (RGB)", "got 2"]),
    (["cae", "classifier.mean=[0.5]", "classifier.std=[0]"], ["'classifier.std'", "larger than 0"]),
    (["cae", "classifier.model=resnt"], ["'classifier.model'", "did you mean 'resnet'"]),
    (["cae", "classifier.model=timm:"], ["timm:NAME"]),
    (["cae", "classifier.model=onnx"], ["needs classifier.weights"]),
    (["cae", "oracle.width=6"], ["'oracle.width'", "multiple of 4", "6"]),
    (["cae", "data.image_size=8", "cae.model.class_downsampling=5"], ["halves the image 5 times"]),
    (["cae", "trainer.devices=two"], ["'trainer.devices'", "two"]),
    (["cae", "resume=last", "overwrite=true"], ["give one of the two"]),
    (["cae", "name=../else"], ["'name'", "plain folder name", "../else"]),
    (["cae", "name="], ["'name'", "plain folder name"]),
    (["cae", "name=.."], ["'name'", "plain folder name"]),
    (["cae", "runs="], ["'runs' must name a folder"]),
    # references
    (["cae", "name=${oc.env:HOME}"], ["${oc.env:HOME}", "environment variables"]),
    (["cae", "name=${x.${seed}}"], ["only ${other.option}"]),
    (["cae", "data.batch_size=${cae.pars}"], ["unknown option 'cae.pars'", "'cae.pairs'"]),
    (["cae", "cae.pairs=${data.batch_size}", "data.batch_size=${cae.pairs}"], ["refers to no fitting value"]),
    (["cae", "cae.pairs=${name}"], ["'cae.pairs' refers to no fitting value"]),
    # files
    (["cae", "nowhere.yaml"], ["no configuration file 'nowhere.yaml'"]),
    (["cae", "configs/lesion.yaml"], ["no configuration file", "did you mean 'lesions.yaml'"]),
    (["cae", "overwrite"], ["no configuration file 'overwrite'", "overwrite=VALUE"]),
    (["cae", "configs"], ["'configs' is a folder"]),
]


@pytest.mark.parametrize(("argv", "words"), BAD_ARGUMENTS, ids=[" ".join(argv) for argv, _ in BAD_ARGUMENTS])
def test_a_wrong_argument_is_answered_in_words(argv, words, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    code, out, err = outcome(capsys, *argv)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert "Traceback" not in err
    for word in words:
        assert word in err


BAD_FILES = [
    ("data: {image_size: [64\n", ["own.yaml, line", "not valid YAML"]),
    ("data:\n  image_size: 64\n bad: 1\n", ["own.yaml, line 3", "not valid YAML"]),
    ("data:\n\timage_size: 64\n", ["own.yaml, line 2", "not valid YAML"]),
    ("- a\n- b\n", ["own.yaml", "holds options"]),
    ("just words\n", ["own.yaml", "holds options"]),
    ("seed: 1\n---\nseed: 2\n", ["own.yaml", "not valid YAML", "single document"]),
    ("seed: 1\nname: a\nseed: 2\n", ["own.yaml, line 3", "'seed' is set twice", "line 1"]),
    ("data:\n  seed: 1\ndata:\n  flip: true\n", ["own.yaml, line 3", "'data' is set twice"]),
    ("data:\n  seed: 1\ndata.seed: 2\n", ["own.yaml, line 3", "'data.seed' is set twice"]),
    ("data:\n  columns: {label: a, label: b}\n", ["own.yaml, line 2", "sets an entry twice"]),
    ("cae:\n  model:\n    clas_dim: 4\n", ["own.yaml, line 3", "'cae.model.clas_dim'", "'cae.model.class_dim'"]),
    ("model:\n  class_dim: 4\n", ["own.yaml, line 1", "unknown option 'model'", "'cae.model'"]),
    ("data: 5\n", ["own.yaml, line 1", "'data' is a section"]),
    ("cae:\n  max_steps: lots\n", ["own.yaml, line 2", "'cae.max_steps'", "a whole number"]),
    ("data:\n  batch_size: 0\n", ["own.yaml, line 2", "'data.batch_size'", "at least 1"]),
    ("name: !!python/object/apply:os.system ['true']\n", ["own.yaml, line 1", "'name'"]),
    ("name: !env HOME\n", ["own.yaml, line 1", "tags are not supported"]),
    ("name: ${oc.env:HOME}\n", ["own.yaml, line 1", "environment variables"]),
    ("seed: &a [*a]\n", ["own.yaml, line 1", "must not nest"]),
    ("? [a, b]\n: 1\n", ["own.yaml, line 1", "plain text"]),
]


@pytest.mark.parametrize(("text", "words"), BAD_FILES, ids=[repr(text) for text, _ in BAD_FILES])
def test_a_wrong_file_is_answered_with_its_name_and_line(text, words, tmp_path, capsys):
    code, _, err = outcome(capsys, "cae", write(tmp_path, text))
    assert code == 2
    for word in words:
        assert word in err


def test_a_file_that_is_no_text_is_answered_in_words(tmp_path, capsys):
    path = tmp_path / "own.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    code, _, err = outcome(capsys, "cae", str(path))
    assert code == 2
    assert "UTF-8" in err


def test_all_problems_come_at_once(tmp_path, capsys):
    path = write(tmp_path, "data:\n  batch_size: 0\n  imagesize: 32\n")
    code, _, err = outcome(capsys, "caee", path, "seed=x", "nothere=1", "data.source=folder", "data.val_share=5")
    assert code == 2
    assert err.startswith("error: 7 problems\n  - ")
    for word in ("'caee'", "'data.imagesize'", "'nothere'", "seed", "batch_size", "val_share", "needs data.path"):
        assert word in err


def test_an_unreadable_file_hides_no_problem_of_the_arguments_but_invents_none(capsys):
    """What is missing may stand in the file that could not be read."""
    _, _, err = outcome(capsys, "cae", "nowhere.yaml", "data.source=folder", "seed=-1")
    assert "nowhere.yaml" in err
    assert "'seed'" in err
    assert "data.path" not in err


def test_without_arguments_everything_is_default():
    assert parsed("cae").config == Config()
    assert load_config() == Config()


def test_later_arguments_win_over_earlier_ones_in_the_order_given(tmp_path):
    first = write(tmp_path, "seed: 1\nname: first\n", "a.yaml")
    second = write(tmp_path, "seed: 2\n", "b.yaml")
    assert parsed("cae", first, second).config.seed == 2
    assert parsed("cae", second, first).config.seed == 1
    assert parsed("cae", first, "seed=3", second).config.seed == 2
    config = parsed("cae", first, second, "seed=3").config
    assert (config.seed, config.name) == (3, "first")


def test_the_result_is_the_typed_dataclass():
    config = parsed("cae", "cae.learning_rate=2e-3", "cae.max_steps=1e4", "data.flip=yes").config
    assert isinstance(config, Config)
    assert isinstance(config.cae, CAEConfig)
    assert (config.cae.learning_rate, config.cae.max_steps, config.data.flip) == (2e-3, 10000, True)


@pytest.mark.parametrize(
    ("argument", "name", "value"),
    [
        ("name=007", "name", "007"),
        ("name=true", "name", "true"),
        ("logging.wandb=off", "wandb", "off"),
        ("data.path=a=b=c", "path", "a=b=c"),
        ("data.path=C:\\images #1: new", "path", "C:\\images #1: new"),
        ("data.path=", "path", None),
        ("data.path=null", "path", None),
        ("data.path='null'", "path", "null"),
        ("data.path=~", "path", None),
        ("manifold.embeddings=[pca,tsne]", "embeddings", ["pca", "tsne"]),
        ("manifold.embeddings=[ umap ]", "embeddings", ["umap"]),
        ("manifold.embeddings=[]", "embeddings", []),
        ("manifold.embeddings=", "embeddings", []),
        ("trainer.devices=0,1", "devices", "0,1"),
        ("trainer.devices=2", "devices", "2"),
        ("trainer.devices=-1", "devices", "-1"),
        ("classifier.input_size=null", "input_size", None),
        ("overwrite=TRUE", "overwrite", True),
        ("overwrite=off", "overwrite", False),
        ("cae.loss.r1=0", "r1", 0.0),
        ("seed= 3 ", "seed", 3),
    ],
)
def test_values_mean_what_they_say(argument, name, value):
    config = parsed("cae", argument).config
    key = argument.partition("=")[0]
    container = to_container(config)
    for part in key.split("."):
        container = container[part]
    assert key.endswith(name)
    assert container == value
    assert type(container) is type(value)


def test_values_in_a_file_mean_what_they_say(tmp_path):
    text = 'name: 007\nlogging:\n  wandb: off\n  progress: no\ncae.learning_rate: 2e-3\ndata:\n  path: "~"\n'
    config = load_config([write(tmp_path, text)])
    assert (config.name, config.logging.wandb, config.logging.progress) == ("007", "off", False)
    assert (config.cae.learning_rate, config.data.path) == (2e-3, "~")


def test_a_mapping_is_merged_into_the_default_one():
    columns = parsed("cae", "data.columns={label: diagnosis}", "data.columns.group=patient").config.data.columns
    assert columns == {"path": "path", "label": "diagnosis", "split": "split", "mask": "mask", "group": "patient"}


def test_a_section_may_be_given_whole_and_empty_ones_change_nothing(tmp_path):
    config = parsed("cae", "cae={pairs: 4, model: {class_dim: 3}}", "data=").config
    assert (config.cae.pairs, config.cae.model.class_dim, config.data) == (4, 3, DataConfig())
    for text in ("", "# only words\n", "data:\ncae:\n  model:\n", "null\n"):
        assert load_config([write(tmp_path, text)]) == Config()


def test_a_reference_copies_another_option():
    arguments = ["counterfactual.batch_size=${data.batch_size}", "data.batch_size=7", "name=run-${seed}"]
    config = load_config(overrides=arguments)
    assert (config.counterfactual.batch_size, config.name) == (7, "run-0")


def test_environment_variables_never_reach_the_configuration(monkeypatch, capsys):
    monkeypatch.setenv("CAE_SECRET", "very-secret")
    code, out, err = outcome(capsys, "cae", "name=${oc.env:CAE_SECRET}", "--print-config")
    assert code == 2
    assert "very-secret" not in out + err


def test_the_parser_tells_what_was_given_where(tmp_path):
    path = write(tmp_path, "seed: 1\ndata:\n  batch_size: 4\n")
    result = parsed("cae", path, "seed=2")
    assert result.command == "cae"
    assert result.files == (Path(path),)
    assert result.file_keys == {"seed", "data.batch_size"}
    assert result.override_keys == {"seed"}


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["cae", "--help"], ["cae", "nothere=1", "-h"]])
def test_help_lists_every_option_section_and_command(argv, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    code, out, err = outcome(capsys, *argv)
    assert (code, err) == (0, "")
    for name, option in all_options().items():
        assert f"  {name} " in out
        assert option.help
    for cls in all_sections().values():
        assert cls.__doc__.split()[0] in out
    for command, meaning in COMMANDS.items():
        assert f"  {command}" in out
        assert meaning in out
    assert "between 0 and 0.9" in out
    assert max(map(len, out.splitlines())) <= 110


def test_help_shows_default_meaning_and_range_in_one_row(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    _, out, _ = outcome(capsys, "--help")
    (row,) = [line for line in out.splitlines() if line.strip().startswith("data.batch_size ")]
    assert row.split(maxsplit=2) == ["data.batch_size", "64", "images in one training batch [at least 1]"]


def test_print_config_prints_the_merge_as_yaml(tmp_path, capsys):
    path = write(tmp_path, "seed: 1\n")
    code, out, _ = outcome(capsys, "cae", path, "name=x", "--print-config")
    assert code == 0
    assert yaml.safe_load(out) == to_container(load_config([path], ["name=x"]))


def test_version_is_printed(capsys):
    code, out, _ = outcome(capsys, "--version")
    assert (code, out.strip()) == (0, f"cae-explain {VERSION}")


@pytest.mark.parametrize("name", ["plain", "007", "1e3", "true", "null", "off", "12:30", "a: b", "é#", "'q'"])
def test_a_saved_configuration_is_read_back_the_same(name, tmp_path):
    config = load_config(overrides=["cae.learning_rate=1e-5", "classifier.mean=[0.5]", "classifier.std=[0.25]"])
    config.name = name
    save_config(config, tmp_path / "config.yaml")
    assert load_config([tmp_path / "config.yaml"]) == config
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_a_configuration_made_in_python_is_checked_too():
    check_config(Config())
    with pytest.raises(UserError, match=r"'data\.batch_size' must be a whole number, at least 1, but got 0"):
        check_config(Config(data=DataConfig(batch_size=0)))


def test_python_users_get_every_problem_of_files_and_overrides(tmp_path):
    with pytest.raises(UserError) as raised:
        load_config([tmp_path / "nowhere.yaml"], ["seed", "sead=1"])
    assert len(raised.value.problems) == 3
    assert "'seed' sets nothing" in raised.value.problems[1]


def test_every_default_is_within_its_own_range():
    assert find_problems(Config()) == []


def test_every_option_has_a_type_that_the_parser_knows():
    for option in all_options().values():
        assert option.kind in (int, float, bool, str)
        assert option.expected


def test_parsing_changes_no_default():
    parsed("cae", "data.columns.label=x", "manifold.embeddings=[umap]", "cae.model.class_dim=3")
    assert dataclasses.asdict(Config()) == to_container(load_config())


def exit_code(main) -> int:
    with pytest.raises(SystemExit) as stop:
        run_program(main, [])
    return stop.value.code


def test_exit_codes_follow_the_outcome(capsys):
    def mistaken(_):
        raise UserError("mend this")

    def interrupted(_):
        raise KeyboardInterrupt

    assert exit_code(lambda _: None) == 0
    assert exit_code(lambda _: 3) == 3
    assert exit_code(mistaken) == 2
    assert capsys.readouterr().err == "error: mend this\n"
    assert exit_code(interrupted) == 130
    assert "resume=last" in capsys.readouterr().err


def test_ctrl_c_during_training_is_told_apart_from_other_exits(capsys):
    """Lightning 2.6 answers Ctrl-C with ``sys.exit(1)``."""

    def stopped_in_training(_):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    assert exit_code(stopped_in_training) == 130
    assert "resume=last" in capsys.readouterr().err
    assert exit_code(lambda _: sys.exit(5)) == 5


def test_a_fault_of_the_program_keeps_its_traceback():
    def broken(_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_program(broken, [])


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)


PROGRAM = (
    "from cae.config.command_line import parse, run_program; "
    "run_program(lambda a: print(parse(a, {'cae': 'x'}, 'p').command))"
)


def test_a_process_ends_with_words_and_exit_code_2():
    wrong = run_python(PROGRAM, "cae", "class_dim=3", "seed=x")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("error: 2 problems")
    assert "Traceback" not in wrong.stderr
    fine = run_python(PROGRAM, "cae")
    assert (fine.returncode, fine.stdout) == (0, "cae\n")


def test_reading_the_command_line_does_not_load_torch():
    """So that --help answers at once."""
    loaded = run_python("import sys, cae.config.command_line, cae.runs.run_folder; print('torch' in sys.modules)")
    assert loaded.stdout.strip() == "False"


def test_options_in_which_two_configurations_differ_are_found_within_sections():
    one, other = load_config(), load_config(overrides=["seed=3", "cae.model.width=8", "data.lesions.train=9"])
    assert differing(one, other, ("seed", "data", "cae.model", "cae.loss")) == [
        "seed", "data.lesions.train", "cae.model.width",
    ]  # fmt: skip
    assert differing(one, other, ("cae.mod", "oracle")) == []


@pytest.mark.parametrize("word", ["lesions", "configs/lesions.yaml"])
def test_a_recipe_is_found_by_its_name_and_by_its_path(word, tmp_path, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[3])
    found = parsed("cae", word, "seed=3")
    assert (found.config.name, found.config.seed) == ("lesions", 3)
    assert [path.name for path in found.files] == ["lesions.yaml"]
    assert load_config([word], ["seed=3"]) == found.config


def test_recipes_are_found_by_name_from_everywhere_and_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config(["digits"]).data.source == load_config("digits").data.source == "digits"
    (tmp_path / "lesions").mkdir()
    assert load_config(["lesions"]).name == "lesions"
    (tmp_path / "digits").write_text("name: mine\n")
    assert load_config(["digits"]).name == "mine"


def test_an_unknown_recipe_is_told_with_the_nearest_and_all_that_there_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"'lesion' is neither a file nor a recipe \(did you mean 'lesions'\?\).*quick"):
        load_config(["lesion"])
