"""The page at three widths, light and dark, with hostile names: nothing sticks out, nothing runs, all can be read."""

import pytest

from harness.store.store import Store
from tests.leaderboard.chromium import VIEWS, Opened
from tests.leaderboard.synthetic import add
from tests.leaderboard.test_page import DEIT, fill, page_of
from tests.store.test_store import record

HOSTILE = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 2'>"
# What reaches over the right edge, or hides a part of itself; a select shows its value its own way.
STICKS_OUT = """
return [...document.querySelectorAll('body *')].filter((one) => {
    if (one.closest('.skip, noscript, option, dialog:not([open])') || one instanceof HTMLSelectElement) return false;
    const box = one.getBoundingClientRect();
    const margin = one.closest('#view') && !one.closest('svg') ? 16 : 0;
    const outside = box.width > 0 && (box.right > document.body.clientWidth - margin + 1 || box.left < margin - 1);
    const hides = !(one instanceof SVGElement) && getComputedStyle(one).overflowX !== 'visible';
    return outside || (hides && one.scrollWidth > one.clientWidth + 1);
}).map((one) => `${one.tagName} ${one.id} ${one.getAttribute('class') ?? ''} ${one.textContent.slice(0, 40)}`);
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    store = Store(folder / "runs")
    fill(store)
    add(store, "fqvit+omse+biascorr+evolq(loss=cosine,passes=10,population=15,steps=35)", 850, bits="w4a8", model=DEIT)
    add(store, HOSTILE, 500, model=HOSTILE, command=HOSTILE, bits="w4a8", environment={"device": HOSTILE})
    add(store, HOSTILE + "+omse", 550, model=HOSTILE, command=HOSTILE, bits="w4a8", environment={"device": HOSTILE})
    add(store, "fqvit", 840, model="x" * 120, bits="w4a8")
    for calib in (32, 1024):
        add(store, "fqvit+omse+biascorr+evolq(loss=cosine)", 840, bits="w4a8", model=DEIT, calib=calib)
    store.save(record("f" * 16, "failed", stack="broken", metrics={}, error={"kind": "oom", "message": HOSTILE}))
    made = folder / "index.html"
    made.write_text(page_of(store, title=HOSTILE), encoding="utf-8")
    return made


@pytest.fixture
def opened(browser, path):
    page = Opened(browser, path)
    yield page
    page.usual_size()
    assert page.complaints() == []


@pytest.mark.parametrize("width", [1400, 820, 390])
@pytest.mark.parametrize("network", [DEIT, "x" * 120, "%3C/script"])
def test_nothing_sticks_out(opened, width, network):
    opened.size(width)
    for view in VIEWS:
        opened.at(f"view={view}&network={network}&bits=w4a8")
        assert opened.js("return document.documentElement.scrollWidth <= innerWidth"), view
        assert opened.js(STICKS_OUT) == [], view


@pytest.mark.parametrize("width", [1400, 390])
def test_details_fit(opened, width):
    opened.size(width)
    opened.at("view=records&record=ffffffffffffffff")
    opened.until("return document.querySelector('dialog[open]')")
    assert opened.js(STICKS_OUT) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_can_be_read(opened, scheme):
    opened.size(1400, scheme=scheme)
    for view in VIEWS:
        opened.at(f"view={view}&network={DEIT}&bits=w4a8")
        assert (opened.js("return getComputedStyle(document.body).colorScheme") or "").startswith(("light", "normal"))
        ink, paper = (
            luminance(value)
            for value in opened.js("const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]")
        )
        assert (ink > paper) == (scheme == "dark")
        faint = [(text, round(found, 1)) for text, found in contrasts(opened) if found < 4.5]
        assert faint == [], view


def contrasts(opened):
    """The text of every element that has any of its own, with its contrast to what is behind it, as WCAG 2 counts it."""
    script = """
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const rgb = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const behind = (one) => {
        const found = rgb(getComputedStyle(one).backgroundColor);
        return found[3] > 250 ? found : behind(one.parentElement);
    };
    const ink = (one) => rgb(getComputedStyle(one)[one instanceof SVGElement ? 'fill' : 'color']);
    return [...document.querySelectorAll('body *')].filter((one) => one.checkVisibility() && !one.disabled &&
        [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
        .map((one) => [one.textContent.slice(0, 40), ink(one), behind(one)]);
    """
    for text, ink, paper in opened.js(script):
        high, low = sorted((luminance(ink), luminance(paper)), reverse=True)
        yield text, (high + 0.05) / (low + 0.05)


def luminance(colour):
    numbers = colour if isinstance(colour, list) else [float(part) for part in colour[colour.index("(") + 1 : -1].split(",")]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (one / 255 for one in numbers[:3])
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_hostile_names_are_text(opened):
    for state in ("view=board", "view=heat", "view=networks", "view=records", "view=methods", f"view=board&cell={'%3Cb'}"):
        opened.at(f"{state}&network={HOSTILE.replace('=', '%3D').replace(' ', '%20').replace('<', '%3C')}")
        assert HOSTILE in opened.js("return document.body.innerText.replaceAll('\\n', '')") or "methods" in state
    opened.at("view=records&record=ffffffffffffffff")
    opened.until("return document.querySelector('dialog[open]')")
    assert HOSTILE in opened.text("dialog")
    assert opened.js("return window.broken") is None
    assert opened.all("img") == []
    assert opened.js("return document.scripts.length") == 3


def test_markup_in_the_address_is_text(opened):
    opened.at("view=board&network=%3Cimg src=x onerror='window.broken=3'%3E&ranking.sort=%3Cb%3E&hide=%3Ci%3E")
    assert "<img" in opened.text("#note")
    assert opened.js("return window.broken") is None
    assert opened.all("img") == []


def test_a_line_of_markup_put_into_the_page_does_not_run(opened):
    """The policy of the page, should a name ever become markup."""
    opened.at("view=board")
    opened.js("document.getElementById('view').insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.broken = 4\">')")
    opened.until("return document.querySelector('#view img').complete")
    assert opened.js("return window.broken") is None
    assert opened.complaints(), "the browser says that it refused"
