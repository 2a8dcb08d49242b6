"""The page in a real browser, where there is one: sort, filter, follow links, open details; by mouse and by keys."""

import pytest

from harness.leaderboard.board.boards import boards
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.board.latencies import latencies
from harness.leaderboard.render.page import page
from harness.store.latencies import all_latencies, save_latency
from harness.store.store import Store
from tests.leaderboard.chromium import VIEWS, Opened
from tests.leaderboard.synthetic import add, rows
from tests.leaderboard.test_page import DEIT, fill, page_of
from tests.store.test_latencies import latency


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    store = Store(folder / "runs")
    fill(store)
    for number in range(130):
        add(store, f"fqvit+step{number % 13}", 600 + number, number // 13, model="other", command=f"harness run {number}")
    made = folder / "index.html"
    made.write_text(page_of(store), encoding="utf-8")
    return made


@pytest.fixture
def opened(browser, path):
    page = Opened(browser, path)
    yield page
    assert page.complaints() == []


def deit(view="board", **more):
    return "&".join([f"view={view}", f"network={DEIT}", "bits=w4a8", *(f"{name}={value}" for name, value in more.items())])


def test_the_ranking_is_the_first_view(opened):
    opened.at(deit())
    assert opened.column("ranking", "rank") == ["1 [1 to 1]", "2 [2 to 2]", "3 [3 to 3]", "4 [4 to 4]", "–"]
    assert [text.partition("best")[0] for text in opened.column("ranking", "stack")][:2] == [
        "fqvit+omse+biascorr",
        "fqvit+omse",
    ]
    assert opened.column("ranking", "mean")[0] == "84.10 ± 0.10 (n=3)"
    assert opened.column("ranking", "delta")[0] == "−5.90"
    assert "FQ-ViT" in opened.column("ranking", "published")[0]
    assert opened.all("#ranking svg.bar .dot")
    assert "latency" not in opened.keys("ranking"), "nothing measures it: no empty column"
    assert "Full precision: 90.00 %" in opened.text("#ranking caption")
    opened.at("view=board&network=other&bits=w8a8")
    assert "published" not in opened.keys("ranking")


def test_sorting_by_mouse_stays_in_the_address(opened):
    opened.at(deit())
    opened.one("#ranking th[data-key=mean] button").click()
    opened.until("return document.querySelector('#ranking th[data-key=mean]').ariaSort === 'descending'")
    values = [float(text.split()[0]) for text in opened.column("ranking", "mean")]
    assert values == sorted(values, reverse=True)
    opened.one("#ranking th[data-key=mean] button").click()
    opened.until("return document.querySelector('#ranking th[data-key=mean]').ariaSort === 'ascending'")
    assert [float(text.split()[0]) for text in opened.column("ranking", "mean")] == sorted(values)
    assert opened.state()["ranking.sort"] == "mean.up"
    assert opened.js("return document.querySelector('#ranking th[data-key=rank]').ariaSort") == "none"
    opened.browser.refresh()
    opened.until("return document.documentElement.dataset.ready")
    assert [float(text.split()[0]) for text in opened.column("ranking", "mean")] == sorted(values)


def test_a_choice_is_in_the_address_and_back_undoes_it(opened):
    opened.at(deit())
    script = "const s = document.getElementById('choose-bits'); s.value = 'w3a8'; s.dispatchEvent(new Event('change'))"
    opened.js(script)
    opened.until("return document.querySelector('#ranking caption').textContent.includes('w3a8')")
    assert opened.state()["bits"] == "w3a8"
    opened.browser.back()
    opened.until("return document.querySelector('#ranking caption').textContent.includes('w4a8')")
    assert opened.js("return document.getElementById('choose-bits').value") == "w4a8"


def test_an_address_that_names_what_is_not_here_is_said(opened):
    opened.at("view=board&network=nothing&bits=w4a8")
    assert opened.text("#note") == "There is no network “nothing” here."
    assert opened.all("#ranking tbody tr")
    opened.at("view=nonsense")
    assert opened.all("#ranking tbody tr")


def test_filtering_records(opened):
    opened.at("view=records")
    assert opened.text("#count") == "177 of 177 records"
    search = opened.one("#search")
    search.send_keys("Omse bias")
    assert opened.text("#count") == "9 of 177 records"
    assert opened.js("return document.activeElement.id") == "search"
    opened.until("return new URLSearchParams(location.hash.slice(1)).get('q') === 'Omse bias'")
    opened.js("const s = document.getElementById('filter-bits'); s.value = 'w4a8'; s.dispatchEvent(new Event('change'))")
    opened.until("return document.getElementById('count').textContent.startsWith('3 of')")
    assert set(opened.column("found", "bits")) == {"w4a8"}
    opened.at("view=records&q=oom")
    assert opened.text("#count") == "1 of 177 records"
    assert opened.column("found", "status") == ["failed: oom"]
    assert opened.one("#search").get_attribute("value") == "oom"


def test_records_come_in_pages(opened):
    opened.at("view=records")
    assert len(opened.all("#found tbody tr")) == 50
    first = [float(text) for text in opened.column("found", "top1")]
    opened.one(".pager button:last-child").click()
    opened.until("return document.querySelectorAll('#found tbody tr').length === 50 && location.hash.includes('page=2')")
    second = [float(text) for text in opened.column("found", "top1") if text != "–"]
    assert first + second == sorted(first + second, reverse=True)
    assert opened.state()["found.page"] == "2"
    opened.one("#search").send_keys("step")
    assert opened.text("#count") == "130 of 177 records"
    assert len(opened.all("#found tbody tr")) == 50, "a search begins at its first page"


def test_a_record_opens_and_escape_closes(opened):
    opened.at("view=records&q=step7")
    opened.one("#found tbody tr a").click()
    dialog = opened.until("return document.querySelector('dialog[open]')")
    assert "harness run --trial" in dialog.text
    assert "2.00 s  fqvit" in dialog.text
    assert "Test CPU" in dialog.text
    assert len(opened.state()["record"]) == 16
    dialog.send_keys("\ue00c")
    opened.until("return !document.querySelector('dialog[open]') && !location.hash.includes('record=')")
    assert opened.js("return document.activeElement.closest('#found') !== null"), "the focus is where it was"


def test_a_cell_opens_with_its_records_and_settings(opened):
    opened.at(deit())
    opened.one("#ranking tbody a").click()
    dialog = opened.until("return document.querySelector('dialog[open]')")
    opened.until("return /[0-9a-f]{16}/.test(document.querySelector('dialog').textContent)")
    for part in (
        "seed 0: 84.00 %",
        "seed 2: 84.20 %",
        "95 % interval",
        "biascorr, version 1: text=biascorr",
        "harness run --method",
        "FQ-ViT",
    ):
        assert part in dialog.text, part
    opened.browser.back()
    opened.until("return !document.querySelector('dialog[open]')")


def test_the_heat_map_has_stacks_by_bit_widths(opened):
    opened.at(deit("heat"))
    assert opened.keys("heat") == ["stack", "w8a8", "w4a8", "w3a8"]
    assert opened.column("heat", "w4a8")[0] == "84.10−5.90best"
    shades = opened.js("""
        const row = [...document.querySelectorAll('#heat tbody tr:first-child a')];
        return row.map((one) => one.style.getPropertyValue('--shade'));
    """)
    assert [int(shade.rstrip("%")) for shade in shades] == sorted(int(shade.rstrip("%")) for shade in shades)
    opened.one("#heat tbody tr:first-child td:nth-child(3) a").click()
    opened.until("return document.querySelector('#ranking') && document.querySelector('dialog[open]')")
    assert opened.state()["bits"] == "w4a8"


def test_a_method_and_a_network_have_views(opened):
    opened.at("view=methods&method=omse")
    assert opened.column("adds", "step") == ["omse"] * 3
    assert all(text.startswith("+3.00") for text in opened.column("adds", "adds"))
    assert len(opened.column("stacks", "stack")) == 6
    opened.at(f"view=networks&network={DEIT}")
    assert opened.column("bests", "bits") == ["w8a8", "w4a8", "w3a8"]
    assert "fqvit+omse+biascorr" in opened.column("bests", "best")[0]
    assert len(opened.column("published", "top1")) > 10
    assert all("A100" in text or text for text in opened.column("runtimes", "hardware"))


def test_the_ladder_says_what_each_step_adds(opened):
    opened.at(deit())
    assert opened.column("ladder", "step") == ["omse", "biascorr"]
    assert opened.column("ladder", "verdict") == ["helps", "helps"]
    assert opened.all("#ladder .zero")


def boxes(opened, selector):
    script = """return [...document.querySelectorAll(arguments[0])].map((one) => {
        const box = one.getBoundingClientRect();
        return [box.left, box.top, box.right, box.bottom];
    })"""
    return opened.js(script, selector)


@pytest.mark.parametrize("cost", ["seconds", "size", "bitops"])
@pytest.mark.parametrize("width", [1400, 390])
def test_labels_cover_no_marker_and_no_other_label(opened, cost, width):
    opened.size(width)
    try:
        opened.at(deit(cost=cost))
        opened.until("return document.querySelectorAll('#front .marks .mark').length > 0")
        labels, marks = boxes(opened, "#front .labels text"), boxes(opened, "#front .marks .mark")
        assert len(marks) == 13
        assert labels
        for place, (left, top, right, bottom) in enumerate(labels):
            for other in marks + labels[:place]:
                assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
    finally:
        opened.usual_size()


def test_the_front_is_labelled_and_bit_widths_are_told_apart(opened):
    opened.at(deit(cost="size"))
    opened.until("return document.querySelectorAll('#front .marks .mark').length === 13")
    fronts = opened.js("return [...document.querySelectorAll('#front .marks .front')].map((one) => one.ariaLabel)")
    assert len(fronts) == 3
    assert len(opened.all("#front .labels text")) == 3
    assert len(opened.all("#front .lines path")) == 1
    shapes = opened.js("""
        const marks = [...document.querySelectorAll('#front .marks .mark')];
        return new Set(marks.map((one) => one.firstChild.tagName + one.classList[2])).size;
    """)
    assert shapes >= 3
    assert "full precision 90.00 %" in opened.text("#front .full")
    assert "3 shown to be on the front" in opened.text("#front-caption")
    opened.one("#bits-w3a8").click()
    opened.until("return document.querySelectorAll('#front .marks .mark').length < 13")
    assert opened.state()["hide"] == "w3a8"
    assert opened.column("points", "bits").count("w3a8") == 0


def test_points_are_reached_by_arrows(opened):
    opened.at(deit())
    opened.until("return document.querySelectorAll('#front .marks .mark').length > 0")
    opened.js("document.querySelector('#front .mark[tabindex=\"0\"]').focus()")
    first = opened.js("return document.activeElement.ariaLabel")
    opened.browser.switch_to.active_element.send_keys("\ue014")
    second = opened.js("return document.activeElement.ariaLabel")
    assert first != second
    assert second.split(":")[0] in opened.text("#front .tip")
    opened.browser.switch_to.active_element.send_keys("\ue007")
    opened.until("return document.querySelector('dialog[open]')")


def test_everything_is_reached_by_keys_with_a_visible_focus(opened):
    opened.at(deit())
    opened.js("document.activeElement.blur()")
    seen = []
    for _ in range(30):
        opened.browser.switch_to.active_element.send_keys("\ue004")
        style = """
            const style = getComputedStyle(document.activeElement);
            return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 1;
        """
        seen.append(opened.js("return document.activeElement.textContent.slice(0, 30) || document.activeElement.id"))
        assert opened.js(style), seen[-1]
    assert seen[:3] == ["Skip to the content", "Leaderboard", "Heat map"]
    assert "Rank" in seen
    assert any(text.startswith("fqvit+omse") for text in seen)


def test_sorting_by_keys_keeps_the_focus(opened):
    opened.at(deit())
    opened.js("document.querySelector('#ranking th[data-key=seconds] button').focus()")
    opened.browser.switch_to.active_element.send_keys("\ue007")
    opened.until("return document.querySelector('#ranking th[data-key=seconds]').ariaSort === 'descending'")
    assert opened.js("return document.activeElement.closest('th').dataset.key") == "seconds"


@pytest.mark.parametrize("view", VIEWS)
def test_screen_readers_hear_what_things_are(opened, view):
    opened.at(deit(view))
    assert opened.js("return document.querySelector('nav [aria-current=page]').dataset.view") == view
    for table in opened.all("#view table"):
        identity = table.get_attribute("id")
        assert opened.text(f"#{identity} caption"), "every table has a caption"
        heads = opened.js(
            "return [...document.querySelectorAll(`#${arguments[0]} thead th`)].map((one) => one.ariaSort)", identity
        )
        assert all(heads)
        rows = opened.js(
            "return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].map((one) => one.innerHTML)", identity
        )
        assert all('scope="row"' in row for row in rows)
    unnamed = "return [...document.querySelectorAll('select, input')].filter((one) => !one.labels.length).length"
    assert opened.js(unnamed) == 0


def test_latencies_where_they_were_measured(browser, tmp_path):
    store = Store(tmp_path / "runs")
    trial = add(store, "lean", 800, environment={"device": "cpu", "load": {"start": 2.0, "end": None}})
    add(store, "whole", 700)
    save_latency(store, latency(trial, quiet=False))
    found = rows(store)
    known = Evidence(store, found, latencies(all_latencies(store, found["id"])[0]))
    path = tmp_path / "index.html"
    path.write_text(page(found, boards(found, known), known), encoding="utf-8")
    opened = Opened(browser, path)
    opened.at("view=board&cost=latency")
    assert opened.column("ranking", "latency") == ["0.56 * [0.55 to 0.58]", "–"]
    assert opened.column("ranking", "disk") == ["6.43", "–"]
    assert opened.column("ranking", "seconds")[0].endswith("*")
    assert "measured on a busy machine" in opened.text("#ranking caption")
    assert "Bit-operations do not rank latency" in opened.text("#ranking caption")
    assert "Latency on Test CPU (avx512_vnni, avx2), 1 thread" in opened.text("#front-caption")
    opened.at("view=board&cell=lean")
    assert "0.56 × float32 (13 ms for 23 ms) on Test CPU" in opened.text("dialog, #details")
    assert "2.0: times measured on a busy machine" in opened.text("dialog, #details")
    assert opened.complaints() == []
