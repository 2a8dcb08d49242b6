"""What the command line says to those who mistype."""

import pytest

from harness.cli.main import main
from harness.errors import StackError
from harness.method.stack import check


@pytest.fixture
def said(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "runs"))

    def call(*arguments):
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        assert (code, out) == (2, ""), "a mistake prints nothing but its explanation"
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err

    return call


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["rum"], "Did you mean run or"),
        (["run", "--methd", "fqvit"], "unknown option --methd. Did you mean --method"),
        (["run", "--method", "fqvit", "--bitz=w4a8"], "unknown option --bitz. Did you mean --bits"),
        (["report", "--jsn"], "Did you mean --json"),
        (["list", "method"], "Did you mean methods"),
        (["describe", "methods", "fqvit"], "Did you mean method"),
        (["describe", "method", "evolk"], "Did you mean evolq"),
        (["run"], "--method"),
        (["run", "--method", "fqvit", "--seed", "-1"], "expected 0 or more"),
        (["list", "methods", "--timm", "deit*"], "--timm lists models"),
        (["recommend", "--max-bytes", "-5MB"], "--max-bytes '-5MB' not understood: expected a size such as 700000, 450KB"),
        (["run", "--method", "fqvit", "--memory", "-3GB"], "memory '-3GB' not understood: expected a size such as 8GB"),
        (["run", "--method", "fqvit", "--calib", "1e3"], "--calib: got '1e3', expected a whole number such as 1000"),
        (["plan", "--method", "fqvit", "--calib", "x3"], "calib 'x3' is not possible: expected a whole number such as 32"),
        (["run", "--method", "fqvit", "--eval-limit", "nan"], "--eval-limit: got 'nan', expected a whole number such as 32"),
        (["recommend", "--max-drop", "abc"], "--max-drop: got 'abc', expected a number such as 1 or 0.5"),
        (["run", "--method", "fqvit", "--bits", "--seed"], "--bits: expected one argument"),
    ],
)
def test_mistakes_are_explained(said, arguments, hint):
    assert hint in said(*arguments)


@pytest.mark.parametrize(
    ("stack", "said"),
    [
        ("fqvit(foo=1)", "no setting 'foo'; fix: use one of"),
        ("fqvit+evolq(pases=1)", "no setting 'pases'. Did you mean passes or preset or first_pass? Fix: use one of"),
        ("minmax+fqvit", "decide which sites exist; fix: keep one of"),
    ],
)
def test_a_problem_and_its_fix_are_a_sentence(stack, said):
    with pytest.raises(StackError) as refused:
        check(stack)
    assert said in str(refused.value)


def test_hints_come_from_the_arguments_not_from_the_process(said, monkeypatch):
    monkeypatch.setattr("sys.argv", ["harness", "report"])
    assert "Did you mean run or" in said("rum")


def test_a_store_that_is_a_file(said, tmp_path):
    (tmp_path / "file").touch()
    for command in (["report"], ["doctor"], ["run", "--method", "fqvit"]):
        assert "is not a folder" in said(*command, "--store", str(tmp_path / "file"))


@pytest.mark.parametrize("command", [["run", "--meth", "x", "--help"], ["list", "--help"], []])
def test_help_is_no_mistake(command, capsys):
    try:
        code = main(command)
    except SystemExit as stop:
        code = stop.code
    assert code == 0
    assert "examples:" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["fqvit", "omse", "smoothquant", "rotate"])
def test_the_example_of_a_method_is_a_stack(name, capsys):
    assert main(["describe", "method", name]) == 0
    example = capsys.readouterr().out.rpartition("--method ")[2].strip()
    assert name in str(check(example))


def test_describe_model(capsys):
    assert main(["describe", "model", "deit_tiny_patch16_224"]) == 0
    out = capsys.readouterr().out
    assert "72.17 % on 50,000 images" in out
    assert "recipe=paper: crop_pct=0.875" in out
    assert main(["describe", "model", "deit_tinny_patch16_224"]) == 2
    assert "Did you mean deit_tiny_patch16_224" in capsys.readouterr().err
