"""The headline: what a run found, in plain words, computed from its tables.

Each sentence names where its numbers come from. A sentence whose numbers were not measured is left
out; what remains says so where a reader would miss it.
"""
from plotting import text

from . import facts, fleet, leakage, plan, validation
from .comparison import user_bytes
from .facts import finite, number

# Targets of the simulated twin against the executed run (shares).
_TARGETS = {"mean_ns": 0.03, "p99_ns": 0.05}
# "better" is no reason to take more bytes: both are within the allowed loss.
_LEVELS = {"better": 0, "equivalent": 0, "reference": 1, "undecided": 2, "worse": 3, "no_power": 4}


def _sentence(words, *provenance, tone="plain"):
    return {"text": words, "provenance": list(dict.fromkeys(provenance)), "tone": tone}


def _percent(share):
    return text.percent(share, 3)


def _lift_words(row):
    value, low, high = (number(row, n) for n in ("lift_kept", "lift_low", "lift_high"))
    words = f"{100 * value:.1f} %"
    if finite(low) and finite(high) and low != high:
        words += f" (95 % interval {100 * low:.1f} to {100 * high:.1f} %)"
    return words


def reference(known):
    """Full fp32 KV: the arm whose real ratio is 1, preferably the verdicts' reference."""
    full = [arm for arm in known.arms() if known.row("arms", arm).get("strategy") == "full"]
    ones = [arm for arm in full if number(known.row("memory", arm), "real_ratio") == 1.0]
    marked = [arm for arm in ones or full
              if known.row("accuracy", arm).get("verdict") == "reference"]
    return next(iter(marked or ones or full), None)


def no_power(known):
    return any(known.row("accuracy", arm).get("verdict") == "no_power" for arm in known.arms())


def _memory(known, arm):
    row = known.row("memory", arm)
    size = user_bytes(row)
    if not finite(size):
        return []
    at = [r for r in known.rows("memory_curve", arm) if number(r, "users") >= 1e6]
    many = min(at, key=lambda r: r["users"], default=None)
    words = f"{facts.label(arm)} keeps {text.size(size)} per user"
    if many and finite(number(many, "bytes")):
        words += f", {text.size(many['bytes'])} for {text.count(many['users'])} users"
    return [_sentence(words + ". That is the yardstick for the shares below.", "derived")]


def _candidates(known, strategy):
    return [arm for arm in known.arms()
            if known.row("arms", arm).get("strategy") == strategy
            and number(known.row("arms", arm), "applies") != 0.0]


def _by_share(known, arms):
    return sorted(arms, key=lambda a: (not finite(number(known.row("memory", a), "real_ratio")),
                                       number(known.row("memory", a), "real_ratio")))


def best_collective(known):
    """The CollectiveKV arm with the best verdict; among equals the one with the fewest bytes."""
    arms = _candidates(known, "collective")
    own = [a for a in arms if known.row("arms", a).get("keying") != "item"] or arms

    def rank(arm):
        return _LEVELS.get(known.row("accuracy", arm).get("verdict"), len(_LEVELS))

    return next(iter(sorted(_by_share(known, own), key=rank)), None)


def _collective(known, arm):
    row, memory = known.row("arms", arm), known.row("memory", arm)
    accuracy = known.row("accuracy", arm)
    share = number(memory, "real_ratio")
    settings = (f"d_u = {number(row, 'd_u'):.0f}, m = {number(row, 'm'):,.0f}, "
                f"m/V = {number(row, 'pool_share_of_catalogue'):.2g}")
    name = f"CollectiveKV ({facts.label(arm)}: {settings})"
    at = f"{_percent(share)} of full KV's bytes" if finite(share) else "bytes not measured"
    kept = number(accuracy, "lift_kept")
    if not finite(kept):
        return [_sentence(f"{name} needs {at}; its accuracy was not measured.", "derived")]
    if accuracy.get("verdict") == "no_power":
        return [_sentence(f"{name} needs {at}. Whether it keeps accuracy these data cannot tell.",
                          "derived", "measured", tone="caution")]
    ending = {"better": "more than full KV itself",
              "equivalent": "within the allowed loss",
              "worse": "a measurable loss",
              "undecided": "too few data to call it equal or worse"}.get(
                  accuracy.get("verdict"), "")
    words = f"{name} keeps {_lift_words(accuracy)} of what histories are worth at {at}"
    return [_sentence(f"{words}: {ending}." if ending else f"{words}.", "measured", "derived",
                      tone="good" if accuracy.get("verdict") in ("better", "equivalent") else "plain")]


def smallest_exact(known):
    """The item table, or recomputing, where it changes no score; None when neither applies."""
    arms = [a for a in _candidates(known, "item_table") + _candidates(known, "recompute")
            if number(known.row("arms", a), "exact") == 1.0]
    return next(iter(_by_share(known, arms)), None)


def _exact(known, collective):
    """The smallest strategy that changes no score, and why it may be used."""
    arm = smallest_exact(known)
    if arm is None:
        return [_sentence(f"{facts.label(a)} does not apply: "
                          f"{text.clean(known.row('arms', a).get('refusal', ''), 200)}.", "derived")
                for a in known.arms() if known.row("arms", a).get("strategy") == "item_table"
                and number(known.row("arms", a), "applies") == 0.0][:1]
    row = known.row("memory", arm)
    share, shared = number(row, "real_ratio"), number(row, "predicted_shared_bytes")
    if not finite(share):
        return []
    if known.row("arms", arm).get("strategy") == "item_table":
        why = "it applies because this model's keys and values depend on the item alone"
        if finite(shared):
            why += f"; it needs {text.size(shared)} once per GPU"
    else:
        why = "it computes keys and values again at each request"
    smaller = share < number(known.row("memory", collective), "real_ratio") if collective else False
    start = "An exact alternative is smaller" if smaller else "An exact alternative"
    return [_sentence(f"{start}: {facts.label(arm)} changes no score and needs {_percent(share)} of "
                      f"the bytes; {why}.", "derived")]


def _latency(known, collective):
    twins = (("executed_latency", {"pass": 1.0}, "On this machine", "measured"),
             ("simulated_latency", {"platform": known.platform},
              f"On the simulated fleet ({text.clean(known.platform or 'platform unknown', 40)})",
              "simulated"))
    found = []
    for table, where, place, provenance in twins:
        values = {arm: number(known.row(table, arm, stage="total", **where), "p99_ns")
                  for arm in known.arms()}
        values = {arm: v for arm, v in values.items() if finite(v)}
        if not values:
            continue
        low, high = min(values, key=values.get), max(values, key=values.get)
        if values[high] <= values[low] * 1.001:
            found.append(_sentence(f"{place} 99 of 100 requests finish within "
                                   f"{text.duration(values[low])} with every strategy.", provenance))
            continue
        words = (f"{place} 99 of 100 requests finish within {text.duration(values[low])} "
                 f"({facts.label(low)}) to {text.duration(values[high])} ({facts.label(high)})")
        if collective in values and collective not in (low, high):
            words += f", {facts.label(collective)} within {text.duration(values[collective])}"
        error = _p99_error(known, "error_relative" if provenance == "simulated"
                           else "repeat_error_relative")
        if finite(error) and values[high] / values[low] - 1.0 < error:
            kind = "simulation" if provenance == "simulated" else "repeat"
            words += (f"; the differences are within the {kind}'s error of {100 * error:.0f} % and "
                      "rank nobody")
        found.append(_sentence(words + ".", provenance))
    return found


def _p99_error(known, column):
    """Largest error of a p99 in table fidelity; NaN without one."""
    errors = [abs(number(row, column)) for arm in known.arms()
              for row in known.rows("fidelity", arm) if row.get("metric") == "p99_ns"]
    return max((e for e in errors if finite(e)), default=float("nan"))


def _fidelity(known):
    worst = {}
    for arm in known.arms():
        for row in known.rows("fidelity", arm):
            metric = row.get("metric")
            error, repeat = number(row, "error_relative"), number(row, "repeat_error_relative")
            if metric in _TARGETS and finite(error):
                old = worst.get(metric, (0.0, 0.0))
                worst[metric] = (max(old[0], abs(error)),
                                 max(old[1], abs(repeat)) if finite(repeat) else old[1])
    if not worst:
        return []
    names = {"mean_ns": "mean", "p99_ns": "p99"}
    parts = [f"{100 * worst[m][0]:.1f} % in the {names[m]}" for m in worst]
    repeat = max(pair[1] for pair in worst.values())
    good = all(worst[m][0] <= max(_TARGETS[m], worst[m][1]) for m in worst)
    return [_sentence(
        f"The simulation is off by up to {' and '.join(parts)} from what was executed here "
        f"(two executed passes differ by up to {100 * repeat:.1f} %): "
        + ("within its target." if good else "outside its target of 3 % and 5 %, so trust "
           "its order of magnitude, not small differences."), "simulated", "measured",
        tone="good" if good else "caution")]


def _power(known):
    if not no_power(known):
        return []
    return [_sentence("These data cannot rank the strategies by accuracy: full KV is not "
                      "measurably better than no history at all.", "measured", tone="caution")]


def _leakage(known):
    return [_sentence(words, "measured", tone="caution") for words in leakage.sentences(known)]


def sentences(known):
    """Most important first."""
    if fleet.is_fleet(known):
        return fleet.sentences(known)
    if validation.is_validation(known):
        return validation.sentences(known)
    if plan.is_plan(known):
        return plan.sentences(known)
    base, collective = reference(known), best_collective(known)
    found = _leakage(known) + _power(known)
    found += _memory(known, base) if base else []
    found += _collective(known, collective) if collective else []
    found += _exact(known, collective)
    found += _latency(known, collective)
    found += _fidelity(known)
    return found or [_sentence("This report holds none of the tables that the headline is made "
                               "from; its tables are below.", tone="caution")]


def title(known):
    """One line: the most important finding that can be made."""
    if fleet.is_fleet(known):
        return fleet.title(known)
    if validation.is_validation(known):
        return validation.title(known)
    if plan.is_plan(known):
        return plan.title(known)
    collective = best_collective(known)
    share = number(known.row("memory", collective), "real_ratio") if collective else None
    row = known.row("accuracy", collective) if collective else {}
    if no_power(known):
        return "Memory and latency compared; these data cannot judge accuracy"
    if finite(share) and finite(number(row, "lift_kept")):
        kept = f"{100 * number(row, 'lift_kept'):.0f} %"
        low, high = 100 * number(row, "lift_low"), 100 * number(row, "lift_high")
        if finite(low) and finite(high) and low != high:
            kept += f" [{low:.0f}, {high:.0f}]"
        words = (f"CollectiveKV keeps {kept} of what histories are worth at "
                 f"{text.percent(share, 2)} of the bytes")
        exact = smallest_exact(known)
        other = number(known.row("memory", exact), "real_ratio") if exact else None
        if finite(other) and other < share:
            words += f"; {facts.label(exact)} keeps all of it at {text.percent(other, 2)}"
        return words + ("; labels may have leaked" if leakage.suspected(known) else "")
    if finite(share):
        return f"CollectiveKV needs {_percent(share)} of full KV's bytes"
    return text.clean(known.report.spec_name, 60)


def cautions(known):
    """Notes of the run and doubts about the numbers' origin."""
    facts_of_run = known.report.provenance
    found = [text.clean(note, 600) for note in known.report.notes]
    if facts_of_run.get("dirty") == "yes":
        found.append("Written by a program built from a modified source tree: the commit below does "
                     "not say everything.")
    if facts_of_run.get("perturbed_token", "") not in ("", "no", "none"):
        found.append("The workload was changed on purpose (perturbed token).")
    for row in facts.rows(known.report, "executed_cache"):
        if number(row, "comparable") == 0.0:
            found.append("Times measured here are not comparable: "
                         + text.clean(row.get("reason", ""), 200) + ".")
            break
    return found
