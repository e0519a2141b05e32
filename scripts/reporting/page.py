"""Puts the page together: data, template, styles and scripts in one HTML file.

Safety: all text goes through the template's escaping or is data that the scripts insert as text.
The data lie in a script element of a type that does not run, with "<", ">" and "&" escaped. The
content security policy allows nothing but the page's own scripts and styles, named by their
hashes: no network, no inline handler, no eval.
"""
import base64
import hashlib
import json
import os
import re

import jinja2
from plotting import text
from plotting.errors import BACKEND, PlotError

from . import colors, comparison, facts, fleet, generic, headline, panels, plan, residents, serving_panels, splits, validation

_ASSETS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "assets")
# Debian's libjs-chart.js (MIT licence, kept as the comment at its beginning).
CHART_LIBRARY = "/usr/share/javascript/chart.js/chart.min.js"
_SCRIPTS = ["format.js", "maps.js", "plots.js", "tables.js", "controls.js"]
_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:%|[kMGTP]?B|[nµm]?s|k|M|bn)(?:\W|$))")
_PROVENANCE = {
    "measured": "a clock, the operating system, or real labels and scores computed through the "
                "cache as served",
    "simulated": "virtual time of a model of the hardware; never a measurement",
    "derived": "a formula over other numbers, given in the column's meaning",
    "input": "taken from the spec or the data",
}


def _asset(name):
    with open(os.path.join(_ASSETS, name), encoding="utf-8") as file:
        return file.read()


def _library():
    try:
        with open(CHART_LIBRARY, encoding="utf-8") as file:
            return file.read()
    except OSError as failure:
        raise PlotError(BACKEND, f"{CHART_LIBRARY}: cannot read the plot library "
                                 f"({failure.strerror}). apt install libjs-chart.js") from failure


def _hash(content):
    digest = hashlib.sha256(content.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def as_script_data(data):
    """JSON that cannot end a script element nor open a comment in it."""
    plain = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(scripts, styles):
    return ("default-src 'none'; "
            f"script-src {' '.join(map(_hash, scripts))}; style-src {' '.join(map(_hash, styles))}; "
            "img-src data:; base-uri 'none'; form-action 'none'")


def _all_panels(known_runs):
    found = [*fleet.figures(known_runs), *plan.figures(known_runs), validation.figure(known_runs), panels.accuracy_front(known_runs), panels.memory_vs_users(known_runs),
             serving_panels.latency_cdf(known_runs), serving_panels.percentiles(known_runs),
             serving_panels.stages(known_runs), serving_panels.hits(known_runs),
             *residents.figures(known_runs), *generic.figures(known_runs), serving_panels.fidelity(known_runs),
             *splits.figures(known_runs), panels.accuracy_controls(known_runs), panels.memory_sections(known_runs),
             serving_panels.workload(known_runs)]
    missing = [p for p in found if not p["views"]]
    if all(fleet.is_fleet(known) for known in known_runs):
        missing = [p for p in missing if not fleet.hides(p["id"])]
    if all(map(plan.is_plan, known_runs)):
        missing = [p for p in missing if not plan.hides(p["id"])]
    if all(map(validation.is_validation, known_runs)):
        missing = []
    elif not any(map(validation.is_validation, known_runs)):
        missing = [p for p in missing if p["id"] != "validation"]
    return [p for p in found if p["views"]], missing


def _environment(known):
    order = ["version", "commit", "dirty", "build_type", "compiler", "date_utc", "cpu",
             "instruction_set", "kernels", "kernel", "memory_bytes", "cores_online",
             "cores_in_affinity_mask", "ranks", "threads_per_rank", "mpi", "platform",
             "calibration", "workload", "seed", "perturbed_token", "host"]
    given = known.report.provenance
    names = [n for n in order if n in given] + sorted(set(given) - set(order))
    return [(text.clean(n.replace("_", " "), 60), text.clean(given[n], 400)) for n in names]


def _run(known):
    report = known.report
    return {"index": known.index, "label": facts.label(report.label),
            "name": text.clean(report.spec_name, 80),
            "file": text.clean(os.path.basename(report.path), 120),
            "description": text.clean(report.spec.get("description", "") or "", 3000)
            if report.spec.get("description") else "",
            "date": text.clean(report.provenance.get("date_utc", "date unknown"), 40),
            "commit": text.clean(report.provenance.get("commit", "unknown"), 60),
            "hash": text.clean(report.logical_hash or "unknown", 60),
            "title": headline.title(known), "sentences": headline.sentences(known),
            "cautions": headline.cautions(known), "environment": _environment(known),
            "spec": json.dumps(report.spec, indent=2, ensure_ascii=False)}


def content(reports):
    """Everything that the page says, as plain data."""
    known_runs = [facts.Facts(report, index) for index, report in enumerate(reports)]
    names = list(dict.fromkeys(arm for known in known_runs for arm in known.arms()))
    shown, missing = _all_panels(known_runs)
    controls = {row["arm"] for known in known_runs
                for row in facts.rows(known.report, "accuracy")} - set(names)
    tables = [generic.table_data(report, index, name) for index, report in enumerate(reports)
              for name in sorted(report.tables)]
    return {"runs": [_run(known) for known in known_runs], "panels": shown, "missing": missing,
            "comparison": comparison.table(known_runs), "tables": tables,
            "looks": colors.looks(reports, names + sorted(controls)),
            "labels": {name: facts.label(name) for name in names},
            "words": _words(known_runs)}


def _words(known_runs):
    """Arm -> what it keeps, for the legends."""
    return {arm: facts.describe_arm(known.row("arms", arm)) for known in reversed(known_runs)
            for arm in known.arms() if known.row("arms", arm)}


def _browser_data(found):
    panels_data = []
    for panel in found["panels"]:
        views = [{**view, "series": [_two_colors(one) for one in view["series"]]}
                 for view in panel["views"]]
        panels_data.append({"id": panel["id"], "title": panel["title"], "claim": panel["claim"],
                            "views": views})
    return {"panels": panels_data, "tables": found["tables"], "looks": found["looks"],
            "labels": found["labels"], "words": found["words"],
            "runs": [run["label"] for run in found["runs"]],
            "specs": [run["spec"] for run in found["runs"]]}


def _two_colors(one):
    return {**one, "color": colors.both(one["color"])} if "color" in one else one


def _keep_together(words):
    """Numbers keep their units on one line."""
    return _BEFORE_UNIT.sub("\u00a0", str(words))


def _breakable(name):
    """A name as markup that may break after its underscores."""
    escape = jinja2.utils.markupsafe.escape
    return jinja2.utils.markupsafe.Markup(str(escape(name)).replace("_", "_<wbr>"))


def render(reports):
    """The page as one string."""
    found = content(reports)
    style = _asset("page.css")
    scripts = [_library(), "\n".join(_asset(name) for name in _SCRIPTS)]
    for script in scripts:
        if "</script" in script.lower() or "<!--" in script:
            raise PlotError(BACKEND, "a script of the page holds text that would end it. "
                                     "install Debian 12's libjs-chart.js")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True,
                                     undefined=jinja2.StrictUndefined)
    environment.filters.update(together=_keep_together, breakable=_breakable)
    template = environment.from_string(_asset("page.html"))
    title = found["runs"][0]["name"] if len(reports) == 1 else \
        " · ".join(run["label"] for run in found["runs"][:4])
    return template.render(
        **found, title=title, policy=jinja2.utils.markupsafe.Markup(_policy(scripts, [style])),
        style=jinja2.utils.markupsafe.Markup(style),
        scripts=[jinja2.utils.markupsafe.Markup(script) for script in scripts],
        data=jinja2.utils.markupsafe.Markup(as_script_data(_browser_data(found))),
        provenance=_PROVENANCE, several=len(reports) > 1)
