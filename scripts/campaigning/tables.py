"""tables.md of a campaign: one overview, then a section a cell. Nothing in it is typed by hand."""
import math

from plotting import text
from plotting.report import load_report

VERDICTS = {"reference": "reference", "better": "better", "equivalent": "equivalent", "worse": "worse", "undecided": "undecided",
            "no_power": "no power"}


def interval(row, name, percent):
    """'88.8 % [83.2, 94.2]' or '0.7245 [0.7221, 0.7269]'."""
    stem = "lift" if name == "lift_kept" else name
    values = [row[name], row[f"{stem}_low"], row[f"{stem}_high"]]
    if not math.isfinite(values[0]):
        return "not measured"
    shown = [f"{100 * v:.1f}" if percent else f"{v:.4f}" for v in values]
    unit = " %" if percent else ""
    if row["verdict"] == "reference":
        return shown[0] + unit
    return f"{shown[0]}{unit} [{shown[1]}, {shown[2]}]"


def _overview(cells, reports):
    arms = list(dict.fromkeys(name for cell in cells
                              for name in [*(arm["name"] for arm in cell.resolved["arms"]), *dict(cell.refused)]))
    lines = ["| arm | " + " | ".join(cell.name for cell in cells) + " |", "|---|" + "---|" * len(cells)]
    for arm in arms:
        shown = []
        for cell in cells:
            report = reports[cell.name]
            if report is None:
                shown.append("not run")
                continue
            rows = {row["arm"]: row for row in report.table("accuracy").records()}
            if arm in rows:
                shown.append(f"{interval(rows[arm], 'lift_kept', True)} {VERDICTS[rows[arm]['verdict']]}".replace(
                    "100.0 % reference", "reference"))
            else:
                shown.append("does not apply" if arm in dict(cell.refused) else "not asked")
        lines.append(f"| {arm} | " + " | ".join(shown) + " |")
    return lines


def kept(row, full, none, metric):
    """Share of the gain of full KV over no history, without an interval; a dash where there is no such gain."""
    if none is None:
        return text.MISSING
    gain = full[metric] - none[metric]
    if not math.isfinite(gain + row[metric]) or not (gain < 0 if metric == "logloss" else gain > 0):
        return text.MISSING
    return f"{100 * (row[metric] - none[metric]) / gain:.0f} %"


def _edge(choice):
    """' *edge*' where a chosen value is the lowest or highest of those that were tried."""
    for key, value in choice["settings"].items():
        tried = sorted({trial["settings"][key] for trial in choice["trials"] if key in trial["settings"]})
        if len(tried) > 1 and value in (tried[0], tried[-1]):
            return " *edge*"
    return ""


def _choices(answer):
    """How settings were found, a line an arm."""
    if not answer["chosen"]:
        return ["No search: every arm was trained with the spec's settings."]
    lines = ["Settings by the highest tune AUC of the trials, one seed each (*edge*: the best of the tried values is the first or the last, "
             "so that one beyond it might be better):", ""]
    for stem, choice in sorted(answer["chosen"].items()):
        best = ", ".join(f"{key.rsplit('/', 1)[1]} {value}" for key, value in choice["settings"].items())
        tried = ", ".join("diverged" if trial["tune_auc"] is None else f"{trial['tune_auc']:.4f}" for trial in choice["trials"])
        lines.append(f"- `{stem}`: {best}{_edge(choice)} (tune AUC of its trials: {tried})")
    return lines


def _section(cell, report):
    lines = ["", f"## {cell.name}", ""]
    if report is None:
        return [*lines, f"**Not run.** Spec `{cell.spec}`."]
    answer = cell.answer()
    rows = report.table("accuracy").records()
    first = rows[0]
    facts = report.provenance
    lines.append(f"{first['impressions']:,.0f} test impressions, {first['users_with_both']:,.0f} users with both labels, "
                 f"{first['seeds']:.0f} training seeds; commit {facts['commit'][:10]}"
                 f"{'' if facts['dirty'] == 'no' else ' (changed tree)'}, {facts['cpu']}, {answer['cores']} cores; "
                 + ", ".join(f"{name} {value:,.0f} s" for name, value in answer["seconds"].items()) + ".")
    lines += [f"- **{note}**" if note.startswith(("No power", "No gain")) else f"- {note}" for note in report.notes]
    lines += ["", "| arm | B/interaction | AUC | gAUC | logloss | history lift kept | verdict | the same of gAUC | of logloss |",
              "|---|---:|---:|---:|---:|---:|---|---:|---:|"]
    none = next((row for row in rows if row["arm"] == "control.no_history"), None)
    for row in rows:
        size = f"{row['bytes_per_interaction']:,.1f}" if math.isfinite(row["bytes_per_interaction"]) else text.MISSING
        lines.append(f"| {row['arm']} | {size} | {interval(row, 'auc', False)} | {row['gauc']:.4f} | "
                     f"{row['logloss']:.4f} | {interval(row, 'lift_kept', True)} | {VERDICTS[row['verdict']]} | "
                     f"{kept(row, first, none, 'gauc')} | {kept(row, first, none, 'logloss')} |")
    if cell.refused:
        lines += ["", "Not served for this model:", ""]
        lines += [f"- `{arm}`: {reason}" for arm, reason in cell.refused]
    return [*lines, "", *_choices(answer)]


def build(campaign, cells, source):
    """The whole text; a cell that was not run, or was run for another spec, says so."""
    reports = {cell.name: load_report(cell.report) if cell.state() == "done" else None for cell in cells}
    lines = [f"# {campaign['name']}", "", campaign.get("description", ""), "",
             f"Made by `scripts/campaign {source}`; do not edit.", "", "## History lift kept, and verdict", "",
             "100 % = as good as full KV, 0 = as bad as no history; 95 % interval over training seeds and users, given the settings that the "
             "trials chose: the choice itself is not in it.", ""]
    lines += _overview(cells, reports)
    for cell in cells:
        lines += _section(cell, reports[cell.name])
    return "\n".join(lines) + "\n"
