"""Headless Chromium for tests of the page, and its screenshots.

usage: browser.py PAGE.html FOLDER      phone.png, tablet.png and desktop.png of the whole page
"""
import json
import os
import shutil
import sys
import time

try:
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service
except ModuleNotFoundError:
    webdriver = None

WIDTHS = {"phone": 390, "tablet": 820, "desktop": 1440}
PATIENCE_S = 20


def missing():
    """Why there is no browser here; empty when there is one."""
    if webdriver is None:
        return "apt install python3-selenium"
    absent = [p for p in ("chromium", "chromedriver") if shutil.which(p) is None]
    return "apt install chromium chromium-driver" if absent else ""


class Browser:
    """A page in a window; used as a context."""

    def __init__(self, path, width=1440, height=900, dark=False):
        options = Options()
        for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                     "--disable-dev-shm-usage", "--disable-component-update",
                     f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.binary_location = shutil.which("chromium")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(service=Service(shutil.which("chromedriver")),
                                       options=options)
        self.resize(width, height)
        scheme = "dark" if dark else "light"
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
            "features": [{"name": "prefers-color-scheme", "value": scheme}]})
        self.address = "file://" + os.path.abspath(path)
        self.driver.get(self.address)
        self.until("document.readyState === 'complete' && figures.every(f => f.wanted === undefined || f.chart)")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.driver.quit()

    def resize(self, width, height):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})

    def js(self, body, *arguments):
        return self.driver.execute_script(body, *arguments)

    def until(self, expression):
        """Waits for a JavaScript expression to hold."""
        end = time.monotonic() + PATIENCE_S
        while not self.js(f"return Boolean({expression})"):
            if time.monotonic() > end:
                raise AssertionError(f"never true: {expression}")
            time.sleep(0.05)

    def errors(self):
        """What the console said, anything at all."""
        return [line["message"] for line in self.driver.get_log("browser")]

    def requests(self):
        """Addresses that the page asked for."""
        events = [json.loads(line["message"])["message"] for line in
                  self.driver.get_log("performance")]
        return [event["params"]["request"]["url"] for event in events
                if event["method"] == "Network.requestWillBeSent"]

    def draw_all(self):
        self.js("for (const f of figures) { f.wanted = true; f.draw(); }")

    def screenshot(self, path, width, height=None):
        """The page's first `height` pixels, or all of it."""
        self.resize(width, 900)
        self.draw_all()
        full = self.js("return document.documentElement.scrollHeight")
        self.resize(width, min(height or full, full))
        time.sleep(0.7)  # charts follow the new size in their own time
        self.driver.save_screenshot(path)


def _main(arguments):
    if len(arguments) != 2 or missing():
        sys.exit(missing() or __doc__)
    os.makedirs(arguments[1], exist_ok=True)
    with Browser(arguments[0]) as browser:
        for name, width in WIDTHS.items():
            target = os.path.join(arguments[1], name + ".png")
            browser.screenshot(target, width)
            print(target)


if __name__ == "__main__":
    _main(sys.argv[1:])
