"""Fleet studies: one result on any number of ranks; broken fleets are refused before any work, with key and remedy."""
import pathlib
import shutil
import tempfile
import unittest

from harness import CKVSIM, PLATFORM, SOURCE, hashes, launch, mpirun, settings

SPEC = SOURCE / "workloads/specs/fleet-ci.json"
SMALL = settings(files__platform=PLATFORM, traffic__requests=20000)


class Fleet(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ckvsim-fleet-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def run_fleet(self, output, ranks=1, extra=(), spec=SPEC):
        return launch([*mpirun(ranks), CKVSIM, "run", spec, *SMALL, "-q", "-o", output, *extra], self.folder)

    def assert_refused(self, extra, code, *pieces):
        for ranks in (1, 2):
            outcome = self.run_fleet("x.h5", ranks, extra)
            self.assertEqual(outcome.code, code, str(outcome))
            for piece in pieces:
                self.assertIn(piece, outcome.err, str(outcome))
            self.assertEqual(outcome.err.count("ckvsim: "), 1, "one message, not one per rank: " + str(outcome))
            self.assertEqual(list(self.folder.iterdir()), [], "something was left behind")

    def test_one_logical_hash_on_1_2_and_4_ranks(self):
        found = set()
        for ranks in (1, 2, 4):
            outcome = self.run_fleet(f"ranks{ranks}.h5", ranks)
            self.assertEqual(outcome.code, 0, str(outcome))
            found.add(hashes(outcome)["logical"])
        self.assertEqual(len(found), 1, found)
        other = self.run_fleet("other.h5", 1, settings(seed=2))
        self.assertNotIn(hashes(other)["logical"], found)

    def test_routed_fleets_have_one_hash_too(self):
        for kind in ("bounded_loads", "two_choices", "random"):
            routed = settings(fleet__routing__kind=kind)
            found = {hashes(self.run_fleet(f"{kind}{ranks}.h5", ranks, routed)).get("logical") for ranks in (1, 2, 4)}
            self.assertEqual(len(found), 1, kind)
            self.assertNotIn(None, found)

    def test_unknown_policy(self):
        self.assert_refused(settings(fleet__tiers__policy="lur"), 3, "/fleet/tiers/policy", "allowed: lru, fifo")

    def test_another_study(self):
        self.assert_refused(settings(study="other"), 3, "/study", "allowed: fleet")

    def test_a_pool_larger_than_gpu_memory(self):
        self.assert_refused([*settings(strategies__4__m=200000000, strategies__4__index_bytes=4)], 3,
                            "weights and pools take", "fewer pool rows")

    def test_no_gpu_memory_for_anything(self):
        self.assert_refused(settings(fleet__tiers__hbm_reserve=0.9999999), 3, "of a GPU's memory", "a GPU with more memory")

    def test_an_slo_below_the_service_time(self):
        self.assert_refused(settings(fleet__slo_ms=0.001), 3, "/fleet/slo_ms", "a longer SLO")

    def test_more_virtual_time_than_the_clock_has(self):
        self.assert_refused(settings(traffic__requests_per_second=0.001), 3, "/traffic/requests", "fewer requests")

    def test_more_users_than_a_node_can_name(self):
        self.assert_refused(settings(fleet__users=8000000000, fleet__nodes=2), 3, "/fleet/nodes", "more nodes")

    def test_no_tier_with_room_for_an_entry(self):
        self.assert_refused(settings(fleet__tiers__hbm_bytes=1, fleet__tiers__dram_bytes=1, fleet__tiers__nvme_bytes=1),
                            3, "/fleet/tiers", "no tier has room")

    def test_state_that_does_not_fit_into_memory(self):
        self.assert_refused(settings(fleet__users=8000000000, fleet__nodes=10, fleet__routing__kind="random"), 3,
                            "/fleet/users", "bytes of state", "more nodes")

    def test_a_missing_platform(self):
        self.assert_refused(settings(files__platform="nowhere.json"), 4, "nowhere.json")

    def test_the_report_says_what_the_run_rests_on(self):
        self.assertEqual(self.run_fleet("r.h5").code, 0)
        shown = launch([CKVSIM, "show", "r.h5", "fleet"], self.folder)
        self.assertEqual(shown.code, 0, str(shown))
        for column in ("requests_per_user", "drift", "drift_error", "state_bytes", "decision_hash"):
            self.assertIn(column, shown.out)
        speed = launch([CKVSIM, "show", "r.h5", "fleet_speed"], self.folder)
        self.assertIn("resident_bytes", speed.out, str(speed))


if __name__ == "__main__":
    unittest.main()
