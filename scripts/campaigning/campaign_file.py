"""The campaign file: cells, trials of settings, and what is wrong with them."""
import json
import os
import re

KEYS = {"name", "description", "trial_set", "trials", "cells"}
CELL_KEYS = {"cell", "spec", "set"}
FAMILIES = ("collective", "other")  # whose settings are searched apart
MOST_TRIALS = 4  # an arm; the same for every family, so that nobody is tuned harder


class CampaignError(Exception):
    """Message grammar: where: what (why). what to do."""

    def __init__(self, exit_code, message):
        super().__init__(message)
        self.exit_code = exit_code


def _refuse(path, where, what):
    raise CampaignError(3, f"{path}: {where}: {what}")


def _overrides(path, where, value):
    if not isinstance(value, dict) or not all(key.startswith("/") for key in value):
        _refuse(path, where, 'expected an object of "/json/pointer": value')
    if parts := [key for key in value if key.startswith("/arms/")]:
        _refuse(path, f"{where}: {parts[0]}", "arms are renumbered where some do not apply. set /arms as a whole")
    return value


def _check_cells(path, content):
    cells = content.get("cells")
    if not isinstance(cells, list) or not cells:
        _refuse(path, "/cells", 'expected a list of {"cell", "spec", "set"}, one at least')
    names = set()
    for index, cell in enumerate(cells):
        where = f"/cells/{index}"
        if not isinstance(cell, dict) or not CELL_KEYS >= set(cell) >= {"cell", "spec"}:
            _refuse(path, where, f"expected an object with {', '.join(sorted(CELL_KEYS))} (set may be left out)")
        if not isinstance(cell["cell"], str) or not re.fullmatch(r"[a-z0-9][a-z0-9-]*", cell["cell"]):
            _refuse(path, where + "/cell", "expected a name of small letters, digits and dashes")
        if cell["cell"] in names:
            _refuse(path, where + "/cell", f"'{cell['cell']}' comes twice. give each cell a name of its own")
        names.add(cell["cell"])
        if not isinstance(cell["spec"], str) or not os.path.isfile(cell["spec"]):
            _refuse(path, where + "/spec", f"'{cell['spec']}' is no file (relative to the repository). name a spec")
        cell["set"] = _overrides(path, where + "/set", cell.get("set", {}))


def _check_trials(path, content):
    trials = content.setdefault("trials", {})
    if not isinstance(trials, dict) or not set(trials) <= set(FAMILIES):
        _refuse(path, "/trials", f"expected an object with {' and '.join(FAMILIES)}")
    if not trials:
        return
    if set(trials) != set(FAMILIES):
        _refuse(path, "/trials", f"only {', '.join(trials)} would be tuned. give trials for {' and '.join(FAMILIES)}")
    for family, settings in trials.items():
        if not isinstance(settings, list) or not 0 < len(settings) <= MOST_TRIALS:
            _refuse(path, f"/trials/{family}", f"expected a list of 1 to {MOST_TRIALS} settings")
        for index, setting in enumerate(settings):
            _overrides(path, f"/trials/{family}/{index}", setting)
    if len({len(settings) for settings in trials.values()}) > 1:
        _refuse(path, "/trials", "families have different numbers of trials (unequal tuning). give each the same")
    for family, settings in trials.items():
        if len({json.dumps(setting, sort_keys=True) for setting in settings}) < len(settings):
            _refuse(path, f"/trials/{family}", "a setting comes twice (an arm would have fewer trials). change one")


def load(path):
    """The checked file; exit code 3 for a broken one, 4 for none."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except OSError as failure:
        raise CampaignError(4, f"{path}: cannot read ({failure.strerror}). name a campaign file, for example "
                               "workloads/campaigns/accuracy.json") from failure
    except ValueError as failure:
        raise CampaignError(3, f"{path}: is not JSON ({failure}). correct it") from failure
    if not isinstance(content, dict):
        _refuse(path, "/", "expected an object")
    if unknown := sorted(set(content) - KEYS):
        _refuse(path, "/" + unknown[0], f"unknown key (known: {', '.join(sorted(KEYS))}). remove or correct it")
    if not isinstance(content.get("name"), str) or not re.fullmatch(r"[a-z0-9][a-z0-9-]*", content["name"]):
        _refuse(path, "/name", "expected a name of small letters, digits and dashes")
    _check_cells(path, content)
    _check_trials(path, content)
    content["trial_set"] = _overrides(path, "/trial_set", content.get("trial_set", {}))
    return content
