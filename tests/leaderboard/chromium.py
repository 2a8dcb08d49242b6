"""A page in Chromium: opened, waited for, asked."""

import shutil
from functools import partial

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1000",
)
VIEWS = ("board", "heat", "methods", "networks", "records")


def available():
    return bool(CHROMIUM and DRIVER)


def started():
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = CHROMIUM
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(DRIVER))


class Opened:
    """A page in the browser."""

    def __init__(self, browser, path):
        self.browser, self.uri = browser, path.as_uri()
        self.js = browser.execute_script
        self.all = partial(browser.find_elements, "css selector")
        self.one = partial(browser.find_element, "css selector")

    def at(self, state=""):
        """Load the page at a state of its address."""
        self.browser.get("about:blank")  # else only the part behind the # would change
        self.browser.get(f"{self.uri}#{state}")
        self.until("return document.documentElement.dataset.ready")
        if "view=records" in state:
            self.until("return document.querySelector('#count')?.textContent")
        return self

    def until(self, script, *arguments):
        """Wait until a script gives something true; gives it back."""
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.browser, 30, poll_frequency=0.02).until(lambda it: it.execute_script(script, *arguments))

    def column(self, table, key):
        script = """
            const heads = [...document.querySelectorAll(`#${arguments[0]} thead th`)];
            const place = heads.findIndex((one) => one.dataset.key === arguments[1]);
            const rows = [...document.querySelectorAll(`#${arguments[0]} tbody tr`)];
            return place < 0 ? null : rows.map((row) => row.children[place].textContent);
        """
        return self.js(script, table, key)

    def keys(self, table):
        return self.js(
            "return [...document.querySelectorAll(`#${arguments[0]} thead th`)].map((one) => one.dataset.key)", table
        )

    def state(self):
        return self.js("return Object.fromEntries(new URLSearchParams(location.hash.slice(1)))")

    def text(self, selector):
        return self.js("return document.querySelector(arguments[0])?.textContent", selector)

    def size(self, width, height=900, scheme="light"):
        shape = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", shape)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    def usual_size(self):
        self.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    def complaints(self):
        return [line for line in self.browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]
