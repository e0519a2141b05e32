"""One cell: search for settings, training, run. Finished steps are kept, so that a killed queue goes on."""
import hashlib
import json
import os
import shutil
import time

from . import programs
from .campaign_file import CampaignError

DONE, STALE, MISSING = "done", "stale", "not run"
# Keys that came later, at what was always so, of weights and of training: cells finished before stay finished.
LATER = {"sides": "both", "start": "random", "teacher": "none"}
LATER_TRAINING = {"distil_weight": 0.5, "distil_temperature": 1}


class Cell:
    """A cell of a campaign in its folder; `answer()` is what tables are made from."""

    def __init__(self, campaign, entry, folder, scratch):
        self.name = entry["cell"]
        self.spec = entry["spec"]
        self.campaign = campaign
        self.report = os.path.join(folder, self.name + ".h5")
        self.record = os.path.join(folder, self.name + ".json")
        self.scratch = os.path.join(scratch, self.name)
        self.settings = dict(entry["set"])
        self.settings["/name"] = f"{campaign['name']}-{self.name}"
        self.settings["/files/weights_dir"] = os.path.join(self.scratch, "weights")
        self.resolved = None
        self.refused = []

    def resolve(self, called):
        """Refuses a spec that cannot run before anything runs; arms that do not apply are set aside."""
        self.resolved, self.settings, self.refused = called.resolve(self.spec, self.settings)

    def wanted(self):
        """What a finished cell is finished for: spec, trials, and nothing of where files lie."""
        spec = {key: value for key, value in self.resolved.items() if key != "files"}
        spec["arms"] = [{**arm, "weights": {key: value for key, value in arm["weights"].items() if LATER.get(key) != value}}
                        for arm in spec["arms"]]
        spec["training"] = {key: value for key, value in spec["training"].items() if LATER_TRAINING.get(key) != value}
        dataset = spec["workload"].get("dataset_path") if spec["workload"]["kind"] != "synthetic" else None
        return {"spec": spec, "dataset": digest(dataset), "trials": self.campaign["trials"], "trial_set": self.campaign["trial_set"]}

    def answer(self):
        """The record of a finished run, None where there is none."""
        if not (os.path.isfile(self.record) and os.path.isfile(self.report)):
            return None
        with open(self.record, encoding="utf-8") as file:
            return json.load(file)

    def state(self):
        found = self.answer()
        if found is None:
            return MISSING
        return DONE if found["wanted"] == self.wanted() else STALE

    def execute(self, called, say):
        os.makedirs(self.scratch, exist_ok=True)
        seconds = {}
        with Timer(seconds, "trials"):
            chosen = self._search(called, say)
        with Timer(seconds, "training"):
            self._train(called, chosen, say)
        partial = os.path.join(self.scratch, "report.h5")
        say("run")
        with Timer(seconds, "run"):
            called.run(self.spec, self.settings, partial)
        record = {"wanted": self.wanted(), "refused": self.refused, "chosen": chosen, "seconds": seconds,
                  "cores": called.cores, "ranks": called.ranks}
        if os.path.exists(self.record):  # of another run: it must not vouch for this report
            os.unlink(self.record)
        shutil.copyfile(partial, self.report + ".partial")
        os.replace(self.report + ".partial", self.report)
        write_json(self.record, record)

    def _variants(self, samples):
        facts = programs.attributes(samples)
        return [(facts[f"variant.{i}.stem"], facts[f"variant.{i}.kind"]) for i in range(int(facts["variants"]))]

    def _search(self, called, say):
        """{stem: {"settings", "tune_auc" of every trial}}: the trial with the highest tune AUC, ties to the first."""
        trials = self.campaign["trials"]
        if not trials:
            return {}
        tried, tasks = [], []  # (stem, settings, weight file), (samples, stem, seed)
        for family, settings in trials.items():
            for index, setting in enumerate(settings):
                folder = os.path.join(self.scratch, f"trial-{family}-{index + 1}")
                given = {**self.settings, **self.campaign["trial_set"], **setting}
                samples, seeds = self._prepared(called, given, folder)
                mine = [stem for stem, kind in self._variants(samples) if (kind == "collective") == (family == "collective")]
                tasks += [(samples, stem, seeds[0]) for stem in mine]
                tried += [(stem, setting, os.path.join(folder, f"{stem}_seed{seeds[0]}.ckvt")) for stem in mine]
        say(f"{len(tasks)} trials")
        called.train(tasks, may_diverge=True)
        return self._best(tried)

    def _best(self, tried):
        results = {}
        for stem, setting, weights in tried:
            auc = float(programs.attributes(weights)["train.tune_auc"]) if os.path.exists(weights) else None
            results.setdefault(stem, []).append({"settings": setting, "tune_auc": auc})
        chosen = {}
        for stem, trials in results.items():
            finite = [trial for trial in trials if trial["tune_auc"] is not None]
            if not finite:
                raise CampaignError(4, f"{self.name}: every trial of {stem} diverged. lower the learning rates of the trials")
            best = max(finite, key=lambda trial: trial["tune_auc"])
            chosen[stem] = {"settings": best["settings"], "trials": trials}
        return chosen

    def _prepared(self, called, settings, folder):
        """(sample file of these settings, its seeds); weights go to the same folder."""
        os.makedirs(folder, exist_ok=True)
        samples = os.path.join(folder, "samples.ckvt")
        called.prepare(self.spec, {**settings, "/files/weights_dir": folder}, samples + ".new")
        os.replace(samples + ".new", samples)
        return samples, programs.attributes(samples)["seeds"].split(",")

    def _train(self, called, chosen, say):
        """All seeds of every variant with its chosen settings, gathered in the cell's weights folder."""
        final = self.settings["/files/weights_dir"]
        os.makedirs(final, exist_ok=True)
        if not chosen:
            say("training")
            samples = os.path.join(self.scratch, "samples.ckvt")
            called.prepare(self.spec, self.settings, samples)
            called.train_all(samples)
            return
        groups = {}
        for stem, choice in chosen.items():
            groups.setdefault(json.dumps(choice["settings"], sort_keys=True), []).append(stem)
        tasks = []
        for number, (settings, stems) in enumerate(sorted(groups.items()), 1):
            folder = os.path.join(self.scratch, f"settings-{number}")
            samples, seeds = self._prepared(called, {**self.settings, **json.loads(settings)}, folder)
            tasks += [(samples, stem, seed) for stem in stems for seed in seeds]
        say(f"training of {len(chosen)} variants, {len(tasks)} runs")
        called.train(tasks)
        for samples, stem, seed in tasks:
            name = f"{stem}_seed{seed}.ckvt"
            shutil.copyfile(os.path.join(os.path.dirname(samples), name), os.path.join(final, name))

def digest(path):
    """SHA-256 of a file, None where there is none: what a cell was run on is part of what it is finished for."""
    if path is None or not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Timer:
    """Adds the seconds of a block to a dictionary."""

    def __init__(self, seconds, name):
        self.seconds = seconds
        self.name = name

    def __enter__(self):
        self.begun = time.monotonic()

    def __exit__(self, *_):
        self.seconds[self.name] = round(time.monotonic() - self.begun, 1)


def write_json(path, content):
    with open(path + ".partial", "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, sort_keys=True)
        file.write("\n")
    os.replace(path + ".partial", path)
