"""The page in a real browser, where there is one: sort, filter, open a trial; nothing hostile runs, nothing complains."""

import shutil
import time

import pytest

from harness.leaderboard.render.page import embedded_json, page
from tests.leaderboard.synthetic import add, rows
from tests.store.test_store import record

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
HOSTILE = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 2'>"
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def fill(store, count=40):
    for number in range(count):
        stack = ["fqvit", "fqvit+omse", "minmax"][number % 3]
        add(store, stack, 700 + number, number // 3, seconds=1 + number % 3, bits=["w8a8", "w4a8"][number % 2])
    add(store, HOSTILE, 500, model=HOSTILE, command=HOSTILE)
    store.save(record("f" * 16, "failed", stack="broken", metrics={}, error={"kind": "oom", "message": HOSTILE}))


def test_the_page_is_one_file_without_links_to_elsewhere(store):
    fill(store)
    text = page(rows(store), title="a < b")
    assert "<title>a &lt; b</title>" in text
    assert "{{" not in text.partition("<script>")[0]
    own = text.partition("<script>")[0] + text.rpartition('type="application/json">')[2]
    assert "http://" not in own
    assert "https://" not in own
    assert "<link" not in own
    assert 'src="' not in own


def test_data_cannot_end_its_element():
    assert "<" not in embedded_json(HOSTILE)
    assert "&" not in embedded_json("&lt;")
    with pytest.raises(ValueError, match="JSON"):
        embedded_json(float("nan"))


@pytest.fixture(scope="module")
def browser():
    if not (CHROMIUM and DRIVER):
        pytest.skip("no chromium with chromedriver here")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = CHROMIUM
    for argument in (*ARGUMENTS, "--window-size=1280,1600"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser, store, tmp_path):
    fill(store)
    path = tmp_path / "index.html"
    path.write_text(page(rows(store)), encoding="utf-8")
    browser.get(path.as_uri())
    yield browser
    complaints = [line for line in browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]
    assert complaints == []
    assert browser.execute_script("return window.broken") is None


def column(browser, number):
    script = (
        "return [...document.querySelectorAll(`#table tbody tr td:nth-child(${arguments[0]})`)].map((c) => c.textContent)"
    )
    return browser.execute_script(script, number)


def test_sorting(opened):
    heads = opened.find_elements("css selector", "#table th button")
    names = [head.text for head in heads]
    top1 = names.index("top-1 %")
    values = [float(value) for value in column(opened, top1 + 1) if value != "-"]
    assert values == sorted(values, reverse=True), "best first"
    heads[top1].click()
    values = [float(value) for value in column(opened, top1 + 1) if value != "-"]
    assert values == sorted(values)
    assert heads[top1].find_element("xpath", "..").get_attribute("aria-sort") == "ascending"
    heads[names.index("stack")].click()
    stacks = column(opened, names.index("stack") + 1)
    assert stacks[-1] == "minmax"


def test_filtering(opened):
    assert opened.find_element("id", "count").text == "42 of 42 records"
    opened.find_element("id", "search").send_keys("omse")
    assert opened.find_element("id", "count").text == "13 of 42 records"
    opened.execute_script(
        "const b = document.getElementById('bits'); b.value = 'w4a8'; b.dispatchEvent(new Event('change'))"
    )
    assert all(bits == "w4a8" for bits in column(opened, 4))
    opened.find_element("id", "search").clear()
    opened.find_element("id", "search").send_keys("oom")
    assert opened.find_element("id", "count").text == "0 of 42 records"


def test_opening_a_trial(opened):
    opened.find_element("id", "search").send_keys("onerror")
    opened.find_element("css selector", "#table tbody td button").click()
    dialog = opened.find_element("id", "trial")
    assert dialog.get_attribute("open")
    assert "harness run --trial" in dialog.text
    assert "onerror" in dialog.text, "shown as text, not run"
    assert "2.00 s  fqvit" in dialog.text


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (390, "light"), (1280, "dark")])
def test_phone_and_dark_mode(opened, width, scheme):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    time.sleep(0.3)
    assert opened.execute_script("return document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
    script = "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
    ink, paper = (_brightness(value) for value in opened.execute_script(script))
    assert (ink > paper) == (scheme == "dark")
    assert abs(ink - paper) > 120, "readable"
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def _brightness(value):
    numbers = [float(part) for part in value[value.index("(") + 1 : -1].split(",")[:3]]
    return sum(numbers) / 3


def test_plots_are_drawn_with_tooltips(opened):
    for name in ("pareto", "calibration", "seeds", "stages"):
        traces = opened.execute_script("return document.getElementById(arguments[0]).data.length", name)
        assert traces > 0, name
    texts = opened.execute_script("return document.getElementById('pareto').data.flatMap((t) => t.text ?? [])")
    assert any("harness run --trial" in text and "Test CPU" in text for text in texts)
    assert not any("<img" in text for text in texts)


def test_a_thousand_records(browser, store, tmp_path):
    for number in range(1200):
        add(store, f"fqvit+omse{number % 12}", 600 + number % 300, number // 12)
    path = tmp_path / "index.html"
    path.write_text(page(rows(store)), encoding="utf-8")
    browser.get(path.as_uri())
    assert browser.find_element("id", "count").text == "1200 of 1200 records"
    assert len(browser.find_elements("css selector", "#table tbody tr")) == 200, "the rest is one click away"
    browser.execute_script("document.getElementById('more').click()")
    assert len(browser.find_elements("css selector", "#table tbody tr")) == 400
