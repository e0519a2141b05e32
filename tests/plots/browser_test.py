"""The page of scripts/report in headless Chromium. Usage: browser_test.py <ckvsim_test_report>

Exit code 77 with the reason when there is no browser.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import browser
import made_reports
from browser import Browser
from plotting.report import load_reports
from reporting import page

SKIPPED = 77
MAKE_REPORT = ""
ROWS = ("return [...document.querySelectorAll('#comparison-table tbody tr')].filter(r => !r.hidden)"
        ".map(r => [r.cells[0].dataset.sort, r.cells[arguments[0]].dataset.sort])")
TYPES = "const s = figures.find(f => f.panel.id === arguments[0]).chart.options.scales; return [s.x.type, s.y.type]"
SHOWN = ("const c = figures.find(f => f.panel.id === arguments[0]).chart; return c.data.datasets"
         ".filter((d, i) => c.isDatasetVisible(i)).map(d => d.label)")


def setUpModule():
    PageTest.folder = tempfile.mkdtemp(prefix="ckvsim-browser-")
    unittest.addModuleCleanup(shutil.rmtree, PageTest.folder)
    for variant in ("base", "other", "gaps"):
        subprocess.run([MAKE_REPORT, PageTest.report(variant), variant], check=True)
    made_reports.hostile(PageTest.report("base"), PageTest.report("hostile"))
    made_reports.sweep(PageTest.report("base"), PageTest.report("sweep"), 200)
    made_reports.with_load_sweep(PageTest.report("base"), PageTest.report("load"))


class PageTest(unittest.TestCase):
    folder = ""

    @classmethod
    def report(cls, name):
        return os.path.join(cls.folder, name + ".h5")

    @classmethod
    def page(cls, *names):
        path = os.path.join(cls.folder, "-".join(names) + ".html")
        if not os.path.exists(path):
            with open(path, "w", encoding="utf-8") as file:
                file.write(page.render(load_reports([cls.report(name) for name in names])))
        return path


class OnePage(PageTest):
    """One browser for all tests; each starts from a fresh page."""

    @classmethod
    def setUpClass(cls):
        cls.browser = Browser(cls.page("gaps"))
        cls.addClassCleanup(cls.browser.driver.quit)

    def open(self, *names):
        self.browser.resize(1440, 900)
        self.browser.driver.get("file://" + self.page(*names))
        self.browser.draw_all()
        self.js = self.browser.js

    def click(self, selector, text=None):
        self.js("const all = [...document.querySelectorAll(arguments[0])];"
                "const one = all.find(e => arguments[1] === null || e.textContent.trim() === arguments[1]);"
                "if (!one) throw new Error('nothing to click: ' + arguments); one.focus(); one.click();",
                selector, text)

    def test_no_console_message_and_no_request(self):
        for names in (("base",), ("gaps",), ("base", "other"), ("load",), ("hostile",)):
            self.browser.requests()
            self.open(*names)
            self.browser.until("figures.every(f => f.chart)")
            self.assertEqual(self.browser.errors(), [], names)
            self.assertEqual({a.split("?")[0] for a in self.browser.requests()
                              if not a.startswith("data:")}, {"file://" + self.page(*names)})

    def test_hostile_names_do_not_run(self):
        self.open("hostile")
        self.js("document.querySelectorAll('details').forEach(d => d.open = true)")
        self.browser.until("document.querySelectorAll('#tables .content table').length > 10")
        self.assertIsNone(self.js("return window.injected"))
        self.assertEqual(self.js("return document.images.length"), 0)
        self.assertEqual(self.js("return document.scripts.length"), 3)
        self.assertIn("onerror", self.js("return document.body.innerText"))
        self.assertEqual(self.browser.errors(), [])

    def test_comparison_sorts_with_missing_values_last(self):
        self.open("gaps")
        column = self.js("return [...document.querySelectorAll('#comparison-table thead th')]"
                         ".findIndex(h => h.textContent.startsWith('History'))")
        for direction, factor in (("ascending", 1), ("descending", -1)):
            self.click("#comparison-table thead th:nth-child(%d) button" % (column + 1))
            self.assertEqual(self.js("return document.querySelectorAll('#comparison-table thead th')"
                                     "[arguments[0]].getAttribute('aria-sort')", column), direction)
            values = [value for _, value in self.js(ROWS, column)]
            known = [factor * float(value) for value in values if value]
            self.assertEqual(known, sorted(known))
            self.assertEqual(values[len(known):], [""] * 3)
        self.assertEqual(self.js("return document.querySelectorAll('#comparison-table [aria-sort=none]')"
                                 ".length + 1"), self.js(
            "return document.querySelectorAll('#comparison-table thead th').length"))

    def test_comparison_filters(self):
        self.open("base")
        field = self.browser.driver.find_element("css selector", "#comparison .filter")
        field.send_keys("collective fp16")
        names = [name for name, _ in self.js(ROWS, 0)]
        self.assertEqual(names, ["collective_fp16", "collective_m50"])
        self.assertEqual(self.js("return document.querySelector('#comparison .count').textContent"),
                         "2 of 9 rows")
        self.click("#show-filtered")
        self.assertEqual(self.js(SHOWN, "memory"), ["collective_fp16", "collective_m50"])
        self.click("#show-all")
        self.assertEqual(len(self.js(SHOWN, "memory")), 9)

    def test_a_legend_hides_a_strategy_everywhere(self):
        self.open("base")
        self.assertIn("full_fp32", self.js(SHOWN, "memory"))
        self.click("#panel-memory .legend button", "full_fp32")
        for figure in ("memory", "accuracy", "latency"):
            self.assertNotIn("full_fp32", self.js(SHOWN, figure))
            self.assertIn("full_fp16", self.js(SHOWN, figure))
        self.assertNotIn("full_fp32", self.js("return figures.find(f => f.panel.id === 'stages')"
                                              ".chart.data.labels"))
        pressed = ("return document.activeElement.textContent + ' ' + "
                   "document.activeElement.getAttribute('aria-pressed')")
        self.assertEqual(self.js(pressed), "full_fp32 false")
        self.click("#show-all")
        self.assertIn("full_fp32", self.js(SHOWN, "memory"))

    def test_scales_switch_between_linear_and_logarithmic(self):
        self.open("base")
        self.assertEqual(self.js(TYPES, "memory"), ["logarithmic", "logarithmic"])
        self.click("#panel-memory .tools button[data-axis=y]")
        self.assertEqual(self.js(TYPES, "memory"), ["logarithmic", "linear"])
        self.click("#panel-percentiles .tools button[data-axis=x]")
        self.assertEqual(self.js(TYPES, "percentiles")[0], "logarithmic")

    def test_a_figure_shows_its_other_views(self):
        self.open("base")
        before = self.js("return figures.find(f => f.panel.id === 'latency').chart.data.datasets[0].data[0].x")
        self.js("const s = document.querySelector('#panel-latency select'); s.value = 1;"
                "s.dispatchEvent(new Event('change'))")
        after = self.js("return figures.find(f => f.panel.id === 'latency').chart.data.datasets[0].data[0].x")
        self.assertLess(after, before / 5)  # the simulated fleet of the fixture is faster
        self.js("document.querySelector('#panel-latency .behind').open = true")
        self.browser.until("document.querySelectorAll('#panel-latency .behind tbody tr').length > 100")

    def test_hover_and_arrow_keys_read_values(self):
        self.open("base")
        self.js("figures.find(f => f.panel.id === 'memory').element.scrollIntoView();"
                "document.querySelector('#panel-memory canvas').focus()")
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.keys import Keys
        for _ in range(2):
            ActionChains(self.browser.driver).send_keys(Keys.ARROW_RIGHT).perform()
        lines = self.js("return figures.find(f => f.panel.id === 'memory').chart.tooltip.body[0].lines")
        self.assertEqual(lines, ["full_fp32", "memory: 61.4 GB", "users: 100 k", "(derived)"])
        label = self.js("return document.querySelector('#panel-memory canvas').getAttribute('aria-label')")
        self.assertIn("9 series", label)

    def test_copy_takes_the_spec(self):
        self.open("base")
        self.browser.driver.execute_cdp_cmd("Browser.grantPermissions", {
            "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]})
        self.click(".copy")
        self.browser.until("document.querySelector('.copy').nextElementSibling.textContent === 'Copied.'")
        copied = self.browser.driver.execute_async_script(
            "navigator.clipboard.readText().then(arguments[0], e => arguments[0](String(e)))")
        self.assertEqual(copied, self.js("return document.querySelector('#spec pre').textContent"))
        self.assertIn('"name": "fixture"', copied)

    def test_theme_switches_colours_of_page_and_figures(self):
        self.open("base")
        look = ("return [getComputedStyle(document.body).backgroundColor, "
                "figures.find(f => f.panel.id === 'memory').chart.options.scales.x.ticks.color]")
        light = self.js(look)
        self.click("#theme")
        dark = self.js(look)
        self.assertEqual(light[0], "rgb(255, 255, 255)")
        self.assertEqual(dark[0], "rgb(23, 26, 31)")
        self.assertNotEqual(light[1], dark[1])
        self.click("#theme")
        self.assertEqual(self.js(look), light)

    def test_keyboard_reaches_every_control(self):
        self.open("base")
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.keys import Keys
        seen = []
        for _ in range(200):
            ActionChains(self.browser.driver).send_keys(Keys.TAB).perform()
            seen.append(self.js("const e = document.activeElement; return [e.tagName, e.id, e.className,"
                                "e.textContent.trim().slice(0, 20), getComputedStyle(e).outlineStyle]"))
            if seen[-1][0] == "BODY":
                break
        words = [" ".join(one[:4]) for one in seen]
        for wanted in ("Skip to the", "theme", "filter", "Strategy", "Log vertical", "SELECT",
                       "full_fp32", "CANVAS", "Copy", "PRE", "SUMMARY"):
            self.assertTrue([w for w in words if wanted in w], f"{wanted} not reached: {words}")
        self.assertEqual([one for one in seen if one[4] == "none" and one[0] != "BODY"], [])

    def test_report_tables_open_sort_and_filter(self):
        self.open("base")
        self.js("[...document.querySelectorAll('details.table')].find(d => d.querySelector('strong')"
                ".textContent === 'simulated_cdf').open = true")
        self.browser.until("document.querySelector('details.table[open] tbody tr')")
        rows = "return document.querySelectorAll('details.table[open] tbody tr').length"
        self.assertEqual(self.js(rows), 200)
        self.click("details.table[open] .content > button")
        self.assertEqual(self.js(rows), 1782)
        field = self.browser.driver.find_element("css selector", "details.table[open] .filter")
        field.send_keys("item_table h100")
        self.assertEqual(self.js(rows), 99)
        self.click("details.table[open] thead button", "quantile")
        self.click("details.table[open] thead button", "quantile")
        self.assertIn("0.99", self.js("return document.querySelector('details.table[open] tbody tr').textContent"))

    def test_no_width_scrolls_sideways(self):
        for names in (("base",), ("base", "other"), ("hostile",)):
            self.open(*names)
            for name, width in browser.WIDTHS.items():
                self.browser.resize(width, 900)
                self.browser.draw_all()
                self.assertLessEqual(self.js("return document.documentElement.scrollWidth"), width,
                                     (names, name))

    def test_structure_for_screen_readers(self):
        self.open("base")
        self.assertEqual(self.js("return ['header', 'main', 'nav', 'footer', 'h1'].map(t => "
                                 "document.querySelectorAll(t).length)"), [1, 1, 1, 1, 1])
        self.assertEqual(self.js("return [...document.querySelectorAll('canvas[role=img]')].filter(c => "
                                 "!c.getAttribute('aria-label')).length"), 0)
        self.assertEqual(self.js("return [...document.querySelectorAll('#comparison table, .origin')]"
                                 ".filter(t => !t.caption).length"), 0)
        self.assertEqual(self.js("return [...document.querySelectorAll('select, input')].filter(e => "
                                 "!e.labels.length).length"), 0)
        self.assertEqual(self.js("return document.documentElement.lang"), "en")

    def test_print_draws_every_figure_in_light_colours(self):
        self.open("base")
        self.click("#theme")
        pdf = self.browser.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
        self.assertGreater(len(pdf["data"]), 50000)
        self.browser.until("figures.every(f => f.chart) && !printing")

    def test_a_sweep_of_200_strategies_works(self):
        self.open("sweep")
        self.assertEqual(len(self.js(ROWS, 0)), 200)
        self.assertEqual(len(self.js(SHOWN, "memory")), 200)
        self.click("#comparison-table thead button")
        self.assertEqual(self.browser.errors(), [])
        times = self.js("const t = performance.getEntriesByType('navigation')[0]; return t.loadEventEnd")
        print(f"\n200 strategies: {os.path.getsize(self.page('sweep')) / 1e6:.1f} MB, "
              f"loaded after {times / 1e3:.2f} s", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if browser.missing():
        print(f"skipped: no browser ({browser.missing()})")
        sys.exit(SKIPPED)
    MAKE_REPORT = os.path.abspath(sys.argv.pop(1))
    unittest.main()
