"""CollectiveKV that learns the scores of trained full KV, in whole runs on the CI spec: prepared, trained in one command, served as
trained, said in the report, and refused where it means nothing."""
import json
import pathlib
import unittest

from harness import CI, CKVSIM, HSTU, SPEC, TWIN, OwnModel, launch, settings

TRAINER = pathlib.Path(CKVSIM).with_name("ckvsim-train")
NO_SERVING = settings(measurements__executed__enabled="false", measurements__simulated__enabled="false")
SIM = json.dumps(CI["model"])
SEED = CI["training"]["seeds"][0]


def pools(name, **keys):
    weights = {"variant": "collective", "scope": "all", "d_u": 1, "m": 32, **keys}
    return {"name": name, "weights": weights, "strategy": {"kind": "collective", "value_type": "fp16", "index_bytes": 2}}


FULL = {"name": "full_fp32", "weights": {"variant": "full"}, "strategy": {"kind": "full"}}
ARMS = [FULL, pools("pools_plain"), pools("pools_taught", teacher="full"), pools("pools_both", start="full", teacher="full")]
HSTU_ARMS = [FULL, pools("pools_plain"), pools("pools_taught", teacher="full")]
STEMS = {"pools_plain": "collective_all_du1_m32", "pools_taught": "collective_all_distil_full_du1_m32",
         "pools_both": "collective_all_from_full_distil_full_du1_m32"}


class Distillation(OwnModel):
    model = settings(arms=json.dumps(ARMS))

    def must(self, *command):
        made = launch(command, self.folder)
        self.assertEqual(made.code, 0, str(made))
        return made

    @unittest.skipUnless(TRAINER.exists(), "ckvsim-train is not built")
    def test_one_command_trains_what_is_served(self):
        for name, model, arms in (("sim", SIM, ARMS), ("twin", TWIN, ARMS), ("hstu", HSTU, HSTU_ARMS)):
            with self.subTest(name):
                own = settings(model=model, arms=json.dumps(arms), files__weights_dir=self.folder / name)
                self.must(CKVSIM, "prepare", SPEC, *self.base, *own, "-q", "-o", name + ".ckvt")
                taught = STEMS[arms[-1]["name"]]
                # Alone, as a queue of single runs has it: nothing but the sample file is needed.
                alone = self.must(TRAINER, name + ".ckvt", "-q", "--only", taught)
                self.assertRegex(alone.out, r"epoch \d+ of \d+( from \d+ of \d+)? taught by \d+ of \d+")
                first = (self.folder / name / f"{taught}_seed{SEED}.ckvt").read_bytes()
                self.assertIn("up to date", self.must(TRAINER, name + ".ckvt", "-q").out)
                self.assertEqual(first, (self.folder / name / f"{taught}_seed{SEED}.ckvt").read_bytes())
                self.must_run(name + ".h5", extra=[*NO_SERVING, *own])
                check = [line.split() for line in self.shown(name + ".h5", "serving_check").replace(",", "").splitlines()
                         if line.startswith(("full", "collective", "no_history"))]
                self.assertLessEqual({STEMS[arm["name"]] for arm in arms[1:]}, {row[1] for row in check})
                for row in check:
                    self.assertLessEqual(float(row[4]), 1e-5, " ".join(row))
                facts = [line.split() for line in self.shown(name + ".h5", "training").splitlines() if " teacher_" in line]
                self.assertEqual({row[0] for row in facts if row[0].endswith("m32")},
                                 {STEMS[arm["name"]] for arm in arms if "teacher" in arm["weights"]})
                self.assertEqual({row[2] for row in facts}, {"teacher_epochs", "teacher_best_epoch", "teacher_tune_auc"})

    @unittest.skipUnless(TRAINER.exists(), "ckvsim-train is not built")
    def test_weight_and_temperature_make_other_weights(self):
        own = settings(model=TWIN, arms=json.dumps(ARMS[:3]), files__weights_dir=self.folder / "w")
        weights = {}
        for name, keys in (("none", {"distil_weight": 0}), ("half", {}), ("told", {"distil_weight": 0.5, "distil_temperature": 1}),
                           ("warm", {"distil_temperature": 4})):
            given = settings(**{f"training__{key}": value for key, value in keys.items()})
            self.must(CKVSIM, "prepare", SPEC, *self.base, *own, *given, "-q", "-o", "w.ckvt")
            told = self.must(TRAINER, "w.ckvt", "-q", "--only", STEMS["pools_taught"], "--seed", str(SEED))
            self.assertEqual("1 up to date" in told.out, name == "told", told.out)
            weights[name] = (self.folder / "w" / f"{STEMS['pools_taught']}_seed{SEED}.ckvt").read_bytes()
        self.assertEqual(weights["half"], weights["told"])
        self.assertEqual(len(set(weights.values())), 3)

    def test_the_report_says_who_taught(self):
        self.must_run("whole.h5")
        table = self.shown("whole.h5", "arms").splitlines()
        # Wide tables are shown in parts, each with the arms' names.
        begin = next(i for i, line in enumerate(table) if line.split()[:1] == ["arm"] and "teacher" in line.split())
        column = table[begin].split().index("teacher")
        for name, teacher in (("full_fp32", "-"), ("pools_plain", "none"), ("pools_taught", "full"), ("pools_both", "full")):
            cells = next(line.split() for line in table[begin:] if line.split()[:1] == [name])
            self.assertEqual(cells[column], teacher, name)
        summary = launch([CKVSIM, "show", "whole.h5"], self.folder).out
        lines = {line.split()[0]: line for line in reversed(summary.splitlines()) if line.startswith("pools_")}
        for name, scope in (("pools_plain", " all "), ("pools_taught", " all/distil "), ("pools_both", " all/warm/distil ")):
            self.assertIn(scope, lines[name])

    def test_no_teacher_is_what_was_before_there_was_a_choice(self):
        told = settings(arms=json.dumps([FULL, pools("pools", teacher="none")]), training__distil_weight=0.9)
        silent = settings(arms=json.dumps([FULL, pools("pools")]))
        for name, arms in (("told", told), ("silent", silent)):
            self.must(CKVSIM, "prepare", SPEC, *self.base, *arms, "-q", "-o", name + ".ckvt")
        self.assertEqual((self.folder / "told.ckvt").read_bytes(), (self.folder / "silent.ckvt").read_bytes())
        self.assertNotIn(b"distil", (self.folder / "told.ckvt").read_bytes()[:4096])

    def test_weights_that_nobody_taught_are_refused(self):
        (self.folder / "swapped").mkdir()
        for file in (self.folder / "own").iterdir():
            if "_distil_" not in file.name:
                (self.folder / "swapped" / file.name).write_bytes(file.read_bytes())
                (self.folder / "swapped" / file.name.replace("_du1", "_distil_full_du1")).write_bytes(file.read_bytes())
        outcome = self.run_spec("x.h5", extra=[*NO_SERVING, *settings(files__weights_dir=self.folder / "swapped",
                                                                      arms=json.dumps(ARMS[:3]))])
        self.assertEqual(outcome.code, 4, str(outcome))
        self.assertIn(f"holds weights of variant '{STEMS['pools_plain']}', not '{STEMS['pools_taught']}'", outcome.err)

    def test_where_it_means_nothing_it_is_refused(self):
        for change, pointer, words in (
                ({"arms__0__weights__teacher": "full"}, "/arms/0/weights/teacher", "\"full\" has no effect here"),
                ({"arms__1__weights__teacher": "collective"}, "/arms/1/weights/teacher", "is not known; allowed: none, full, full_silu"),
                ({"training__distil_weight": 1.5}, "/training/distil_weight", "1.5"),
                ({"training__distil_temperature": 0}, "/training/distil_temperature", "0"),
                ({"model": HSTU, "arms__2__weights__teacher": "full_silu"}, "/arms/2/weights/teacher", "use 'full'"),
                ({"model": HSTU}, "/arms/3/weights/start", "use 'random'")):
            with self.subTest(words):
                outcome = launch([CKVSIM, "validate", SPEC, *self.base, *settings(**change)], self.folder)
                self.assertEqual(outcome.code, 3, str(outcome))
                line = next((line for line in outcome.err.splitlines() if pointer in line), "")
                self.assertIn(words, line, outcome.err)


if __name__ == "__main__":
    unittest.main()
