"""Tables for papers: they fit the line with four networks, compile, and show the numbers of the boards."""

import re
import shutil
import subprocess

import pytest

from harness.leaderboard.board.boards import boards
from harness.leaderboard.render import names
from harness.leaderboard.render.latex import MOST_COLUMNS, leaderboards_latex
from tests.leaderboard.synthetic import add, evidence, rows

HOSTILE = "a|b`c\n<script>alert(1)</script>\\end{table} $x_1$ & 100% # ~^{}[l](javascript:x) *b* ±"
NETWORKS = (
    "deit_tiny_patch16_224.fb_in1k",
    "vit_base_patch16_224.augreg2_in21k_ft_in1k",
    "swin_small_patch4_window7_224.ms_in1k",
    "regnety_032.ra_in1k",
)
PICO = "vit_pico_patch4_28.fashion_mnist"
STACKS = (
    "minmax",
    "fqvit+omse",
    "fqvit+omse+biascorr+gradopt(optimizer=adamw)",
    "fqvit+omse+biascorr+evolq(loss=infonce,passes=3,cycles=10)",
)


def latex(store):
    return leaderboards_latex(boards(rows(store), evidence(store)))


def compiled(source, folder):
    """Compile a document of the article class with these tables; returns its log."""
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex here")
    text = f"\\documentclass{{article}}\\usepackage{{booktabs,tabularx}}\\begin{{document}}\n{source}\\end{{document}}"
    (folder / "x.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "x.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    log = (folder / "x.log").read_text(encoding="latin-1")
    assert done.returncode == 0, log[-2000:]
    return log


@pytest.fixture
def four(store):
    for model in NETWORKS:
        for place, stack in enumerate(STACKS):
            for seed in range(2):
                add(store, stack, 800 + 9 * place + seed, seed, model=model, draw=place)
        add(store, "fp32", 900, 0, model=model)
    return store


def test_four_networks_fit_a_line(four, tmp_path):
    log = compiled(latex(four), tmp_path)
    assert "Overfull" not in log
    assert "Underfull" not in log
    assert "multiply" not in log


def test_bit_widths_of_one_network_are_columns_of_one_table(store, tmp_path):
    for bits, right in (("w8a8", 890), ("w4a8", 850), ("w3a8", 90), ("w4a4", 700)):
        for place, stack in enumerate(STACKS):
            for seed in range(2 if stack != "minmax" else 1):
                add(
                    store, stack, right + place + seed, seed, bits=bits, model="vit_pico_patch4_28.fashion_mnist", draw=place
                )
    source = latex(store)
    assert source.count(r"\begin{table}") == 1
    assert "stack & w8a8 & w4a8 & w4a4 & w3a8" in source
    assert "Overfull" not in compiled(source, tmp_path)


def test_what_a_table_says(four):
    source = latex(four)
    assert source.startswith(r"% \usepackage{booktabs,tabularx}")
    assert source.count(r"\begin{table}") == 1
    assert re.findall(r"\\label\{tab:([\w-]+)\}", source) == [re.search(r"tab:(w8a8-[0-9a-f]{6})", source)[1]]
    assert "stack & DeiT-T & regnety\\_032 & Swin-S & vit\\_base" in source
    assert r"full precision & $90.00$" in source
    assert "fp32" not in source, "full precision has its own line"
    assert r"$\mathbf{82.75}_{\pm0.07}$" in source
    assert r"$80.05^{\ast}_{\pm0.07}$" in source
    assert r"regnety\_\penalty500{}032.\penalty500{}ra\_" in source, "full names stand below"
    assert "biascorr+\\allowbreak{}gradopt(\\penalty500{}adamw)" in source
    assert "over 2 seeds" in source
    assert "3 seeds" not in source


def test_the_best_set_and_what_is_not_ranked(store):
    for seed in range(2):
        add(store, "good", 850, seed, draw=1)
        add(store, "as-good", 848, seed, draw=2)
        add(store, "leak", 890, seed, protocol="paper")
        add(store, "seen", 880, seed, data={"name": "d", "fingerprint": "f", "overlap": 3})
    add(store, "lucky", 890, 0)
    source = latex(store)
    for shown in (
        r"$\mathbf{85.00}_{\pm0.00}$",
        r"$84.80^{\ast}_{\pm0.00}$",
        r"$89.00^{1/2}$",
        r"\texttt{leak}$^{\ddagger}$ & $89.00_{\pm0.00}$",
        r"$88.00^{\dagger}_{\pm0.00}$",
        r"\textbf{Bold}: best; $^{\ast}$: in the best set too",
        r"$^{\ddagger}$: saw evaluation images",
    ):
        assert shown in source
    assert r"$^{?}$" not in source, "signs that are not there need no words"


def test_more_networks_than_fit_are_in_several_tables(store, tmp_path):
    for number in range(MOST_COLUMNS + 1):
        add(store, "fqvit", 800, model=f"resnet{number}.a1_in1k")
    source = latex(store)
    assert source.count(r"\begin{table}") == 2
    assert "part 2 of 2" in source
    assert len(set(re.findall(r"\\label\{[^}]*\}", source))) == 2
    assert "Overfull" not in compiled(source, tmp_path)


def test_labels_stay_whatever_else_is_in_the_store(store):
    add(store, "fqvit", 800)
    before = re.findall(r"\\label\{[^}]*\}", latex(store))
    add(store, "fqvit", 800, data={"name": "another", "fingerprint": "g"})
    assert set(before) <= set(re.findall(r"\\label\{[^}]*\}", latex(store)))


def test_rows_of_other_method_versions_stay_apart(store):
    """Each board has one evolq; side by side they are two rows."""
    spec = {"weights_sha256": "a" * 64, "preprocessing": {"crop_pct": 0.9}}
    for bits, version in (("w8a8", 1), ("w4a8", 2)):
        stack = [{"name": "evolq", "version": version, "config": {}}]
        add(store, "evolq", 800, bits=bits, spec={**spec, "stack": stack})
    body = [line for line in latex(store).splitlines() if line.startswith(r"\texttt{evolq")]
    assert len(body) == len({line.partition("&")[0] for line in body}) == 2
    assert all(line.count("--") == 1 for line in body)


def test_hostile_names_cannot_break_a_table(store, tmp_path):
    add(store, HOSTILE, 800, model=HOSTILE, data={"name": HOSTILE, "fingerprint": "f"})
    source = latex(store)
    assert source.count(r"\end{table}") == 1
    compiled(source, tmp_path)


def test_short_names():
    assert names.stacks(["evolq(loss=kl)", "evolq(passes=3)", "a+b(c=d,e=False)"]) == {
        "evolq(loss=kl)": "evolq(kl)",
        "evolq(passes=3)": "evolq(passes=3)",
        "a+b(c=d,e=False)": "a+b(d,e=False)",
    }
    assert set(names.stacks(["x(a=one)", "x(b=one)"]).values()) == {"x(a=one)", "x(b=one)"}, "never the same for two"
    assert names.network("deit_tiny_patch16_224.fb_in1k") == "DeiT-T"
    assert names.network("vit_pico_patch4_28.fashion_mnist") == "vit_pico"
    assert names.network("vit_base_patch16_clip_224.x") == "vit_base"
    assert names.network("deit_tiny_patch16_224.file-12345678") == "deit_tiny (file-1234)", "own weights are no DeiT-T"
    assert names.networks({"a": "x.one", "b": "x.two", "c": "y"}) == {"a": "x (1)", "b": "x (2)", "c": "y"}
    assert names.slug("../../a b") == "a-b"
    assert names.slug("$") == "x"
