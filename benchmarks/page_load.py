"""The page under load: its size, the time to the first view, and the time of a keystroke in the search of its records.

``python benchmarks/page_load.py`` makes up 20,000 records (20 networks, 4 bit-widths, 14 stacks, 6 calibration sizes, 3
seeds, every figure another one), writes the page and opens it in Chromium, where there is one. ``--records`` changes the
number, ``--out`` keeps the page.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.leaderboard.board.boards import boards
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.render.page import page
from harness.store.store import Store
from harness.store.table import COLUMNS

NETWORKS, BITS, CALIB, SEEDS = 20, ("w8a8", "w4a8", "w3a8", "w4a4"), (32, 64, 128, 256, 512, 1024), 3
STACKS = (
    "fp32", "minmax", "ema", "percentile", "fqvit", "fqvit+omse", "fqvit+omse+biascorr", "fqvit+omse+biascorr+evolq",
    "fqvit+omse+biascorr+gradopt(optimizer=adamw)", "repqvit", "repqvit+qwt", "repqvit+erq", "adalog", "ptq4vit",
)  # fmt: skip
IMAGES = 50_000
COVERAGE = "4 bit: weights, attention weights; 8 bit: conv outputs, embeddings, residual sums, layer_norm outputs, logits"
CONSTANT: dict[str, Any] = {
    "status": "done", "top1_fp32": 75.0, "top5_fp32": 92.0, "n_images": IMAGES, "n_correct_fp32": 37_500,
    "protocol": "strict", "on_grid": True, "size_bytes_fp32": 4 * 10**6, "bit_operations_fp32": 10**11,
    "forward_passes": 3.0, "data": "made up", "data_fingerprint": "0" * 64, "overlap": 0,
    "preprocessing": '{"crop_pct": 0.9}', "weights_sha256": "0" * 64, "identity_version": 1,
    "device": "CPU, made up, 2 threads", "commit": "0" * 40, "torch": "2.9", "timm": "1.0",
    "coverage": COVERAGE, "calib_source": "data",
}  # fmt: skip
CHROMIUM = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1400,1000"
)
# From a letter to the next frame after what it changed was painted, in milliseconds.
KEYSTROKE = """
const [text, done] = arguments;
const search = document.getElementById("search");
const started = performance.now();
search.value = text;
search.dispatchEvent(new Event("input", { bubbles: true }));
requestAnimationFrame(() => setTimeout(() => done(performance.now() - started)));
"""


def made_up(count: int) -> pd.DataFrame:
    """Rows of records that nobody measured; as many different figures as real ones have."""
    asked = _asked(np.arange(count))
    values = {**CONSTANT, **asked, **_texts(asked), **_figures(count, asked)}
    plain = {name: pd.Series(values.get(name, pd.NA), index=range(count)).astype(kind) for name, kind in COLUMNS.items()}
    return pd.DataFrame(plain)


def _asked(number: np.ndarray) -> dict[str, Any]:
    """What tells the trials apart."""
    rest = number // SEEDS
    stack, rest = rest % len(STACKS), rest // len(STACKS)
    bits, rest = rest % len(BITS), rest // len(BITS)
    network, calib = rest % NETWORKS, rest // NETWORKS % len(CALIB)
    return {
        "id": [f"{one * 0x9E3779B97F4A7C15 % 2**64:016x}" for one in range(1, len(number) + 1)],
        "stack": np.array(STACKS, dtype=object)[stack],
        "bits": np.array(BITS, dtype=object)[bits],
        "model": [f"synthetic_{one}.made_up_in1k" for one in network],
        "calib": np.array(CALIB)[calib],
        "seed": number % SEEDS,
    }


def _texts(asked: dict[str, Any]) -> dict[str, Any]:
    """What records say of themselves in words."""
    trials = list(zip(*(asked[name] for name in ("stack", "model", "bits", "calib", "seed")), strict=True))
    steps = {
        stack: [{"config": {}, "name": name.partition("(")[0], "version": 1} for name in stack.split("+")]
        for stack in STACKS
    }
    return {
        "methods": [json.dumps(steps[stack]) for stack, *_ in trials],
        "identity": [
            json.dumps({"stack": steps[one], "bits": bits, "calib": int(calib)}) for one, _, bits, calib, _ in trials
        ],
        "command": [
            f"harness run --method '{stack}' --model {model} --bits {bits} --calib {calib} --seed {seed}"
            for stack, model, bits, calib, seed in trials
        ],
        "created": [f"2026-01-{1 + i % 28:02d}T{i % 24:02d}:{i % 60:02d}:{i % 59:02d}+00:00" for i in range(len(trials))],
    }


def _figures(count: int, asked: dict[str, Any]) -> dict[str, Any]:
    """Results and costs, no two alike."""
    generator = np.random.default_rng(0)
    correct = (IMAGES * (0.7 + 0.01 * generator.standard_normal(count))).astype(int)
    times = generator.exponential(30, (count, 5))
    stages = [("capture", "load calibration images", stack, "finish", "evaluate") for stack in asked["stack"]]
    return {
        "top1": correct / IMAGES * 100,
        "n_correct": correct,
        "n_agree": correct + 100,
        "top5": 90 + generator.random(count),
        "agreement": 90 + 5 * generator.random(count),
        "logit_sqnr_db": 20 * generator.random(count),
        "logit_mse": generator.random(count),
        "load": 1.5 + generator.random(count),
        "size_bytes": 10**6 + np.arange(count) % 977,
        "bit_operations": 10**9 + np.arange(count) % 971,
        "peak_memory_bytes": 10**9 + generator.integers(10**9, size=count),
        "seconds_stack": times[:, :4].sum(1),
        "seconds_evaluate": times[:, 4],
        "seconds_shared": times[:, 0],
        "seconds_wall": times.sum(1),
        "stages": [
            json.dumps(list(zip(names, row, strict=True))) for names, row in zip(stages, times.tolist(), strict=True)
        ],
    }


def in_chromium(path: Path) -> dict[str, float]:
    """Seconds to the first view, to the view of records, and of keystrokes; what the main thread computed for them."""
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.support.ui import WebDriverWait

    options = Options()
    options.binary_location = str(shutil.which("chromium"))
    for argument in CHROMIUM.split():
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        wait = WebDriverWait(browser, 120, poll_frequency=0.02)
        browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        browser.get(path.as_uri())
        wait.until(lambda it: it.execute_script("return document.documentElement.dataset.ready"))
        first = float(browser.execute_script("return performance.now()")) / 1000
        started = time.perf_counter()
        browser.execute_script("location.hash = '#view=records'")
        wait.until(lambda it: it.execute_script("return document.querySelectorAll('#found tbody tr').length > 0"))
        opened = time.perf_counter() - started
        browser.execute_async_script("requestIdleCallback(arguments[0])")  # nobody types before the view stands
        words, before = "fqvit+omse synthetic_7 w4a8", _computed(browser)
        keys = [browser.execute_async_script(KEYSTROKE, words[:end]) / 1000 for end in range(1, len(words) + 1)]
        each = (_computed(browser) - before) / len(words)
    finally:
        browser.quit()
    found = {"first view": first, "records": opened, "keystroke, median": statistics.median(keys), "longest": max(keys)}
    return {**found, "computed for a keystroke": each}


def _computed(browser: Any) -> float:
    """Processor time of the page's main thread so far, in seconds: the same on a loaded machine."""
    metrics = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))


def main() -> None:
    """Make records, write, open, type."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000, help="how many (default: 20,000)")
    parser.add_argument("--out", type=Path, help="where to keep the page (default: nowhere)")
    given = parser.parse_args()
    rows = made_up(given.records)
    with tempfile.TemporaryDirectory() as folder:
        evidence = Evidence(Store(Path(folder) / "runs"), rows)
        started = time.perf_counter()
        found = boards(rows, evidence)
        grouped = time.perf_counter()
        text = page(rows, found, evidence)
        made = time.perf_counter()
        path = (given.out or Path(folder) / "index.html").resolve()
        path.write_text(text, encoding="utf-8")
        print(f"{given.records} records: {len(text) / 1e6:.2f} MB")
        print(f"boards {grouped - started:.1f} s, page {made - grouped:.1f} s")
        if shutil.which("chromium") and shutil.which("chromedriver"):
            print(", ".join(f"{name} {seconds:.2f} s" for name, seconds in in_chromium(path).items()))
        else:
            print("no chromium with chromedriver here: not opened")


if __name__ == "__main__":
    main()
