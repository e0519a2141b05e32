#!/usr/bin/python3
"""The attention tables against made-up measurements whose shares and ratios are known."""
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

CAMPAIGN = Path(__file__).resolve().parents[2] / "scripts/lib/attention_campaign"
AXES = "C:1/n:1000/H:2/m:{m}/du:{du}/zipf:0/phases:0/threads:1/real_time"


def row(name, cpu_us, real_us=None, repetition=0, **counters):
    return {"name": name, "run_name": name, "run_type": "iteration", "repetition_index": repetition, "cpu_time": cpu_us,
            "real_time": 10 * cpu_us if real_us is None else real_us, "time_unit": "us", **counters}


def attend(arm, cpu_us, m=0, du=0, repetition=0, **counters):
    work = {"requests": 4, "entry_B": 0, "table_B": 0, "table_size": 0, "row_B": 1024, "flops": 1e6, "exps": 2000, "rows_k": 1000, "rows_v": 1000}
    return row(f"attend/{arm}/" + AXES.format(m=m, du=du), cpu_us, repetition=repetition, **{**work, **counters})


def machine(repetition=0):
    return [row("machine/triad/threads:1/real_time", 1000, repetition=repetition, bytes=20e6),  # 20 GB/s
            row("machine/gather/row:1024/bytes:1000000/threads:1/real_time", 1000, repetition=repetition, bytes=60e6),
            row("machine/gather/row:512/bytes:1100000/threads:1/real_time", 1000, repetition=repetition, bytes=6e6),
            row("machine/gather/row:1024/bytes:9000000/threads:1/real_time", 1000, repetition=repetition, bytes=30e6),
            row("machine/gemm/threads:1/real_time", 1000, repetition=repetition, flops=80e6),
            row("machine/softmax/threads:1/real_time", 1000, repetition=repetition, exps=1e6)]


class AttentionCampaign(unittest.TestCase):
    def show(self, **programs):
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for name, rows in programs.items():
                paths.append(Path(folder) / f"bench_{name}.json")
                paths[-1].write_text(json.dumps({"context": {"num_cpus": 2}, "benchmarks": rows}))
            return subprocess.run([sys.executable, CAMPAIGN, "--show", *paths], capture_output=True, text=True, check=False)

    def line(self, text, *words):
        found = [x for x in text.split("\n") if x.startswith("|") and all(w in x for w in words)]
        self.assertEqual(len(found), 1, text)
        return [cell.strip() for cell in found[0].strip("|").split("|")]

    def test_shares_use_cpu_time_and_the_nearest_table_of_such_rows(self):
        result = self.show(attention_roofline=machine() + [
            attend("full_fp32", 400, entry_B=1e6),  # 100 us a request, triad allows 50
            attend("collective_fp32", 160, m=500, du=1, table_B=1.2e6, table_size=1.1e6)])  # 40 us; the small table allows 20
        self.assertEqual(result.returncode, 0, result.stderr)
        full = self.line(result.stdout, "full_fp32")
        self.assertEqual(full[3], "100.0 (100.0-100.0)")
        self.assertEqual(full[7:10], ["triad", "0.50 (0.50-0.50)", "0.52 (0.52-0.52)"])
        pool = self.line(result.stdout, "collective_fp32 m=500")
        self.assertEqual(pool[7:9], ["gather", "0.50 (0.50-0.50)"])
        self.assertEqual(pool[10], "2.50 (2.50-2.50)")

    def test_a_filter_may_leave_a_program_without_rows(self):
        document = json.dumps({"context": {"num_cpus": 2}, "benchmarks": machine() + [attend("full_fp32", 400, entry_B=1e6)]})
        with tempfile.TemporaryDirectory() as folder:
            for name, text in (("roofline", document), ("torch", "")):
                program = Path(folder) / f"bench_attention_{name}"
                program.write_text(f"#!/bin/sh\nout=${{1#*=}}\ncat >$out <<'END'\n{text}\nEND\n" if text else
                                   "#!/bin/sh\n: >${1#*=}\n")
                program.chmod(0o755)
            result = subprocess.run([sys.executable, CAMPAIGN, "--bin", folder, "--rounds", "2", "--filter", "full"],
                                    capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(self.line(result.stdout, "full_fp32")[3], "100.0 (100.0-100.0)")

    def test_ratios_are_taken_within_a_repetition(self):
        rows = []
        for repetition, slow in enumerate((1, 3, 2)):  # the machine's speed changes from one to the next
            rows += machine(repetition) + [
                attend("full_fp32", 400 * slow, repetition=repetition, entry_B=1e6),
                attend("item_table_fp32", 800 * slow, repetition=repetition, entry_B=1e6)]
        result = self.show(attention_roofline=rows)
        self.assertEqual(self.line(result.stdout, "item_table_fp32")[10], "0.50 (0.50-0.50)")

    def test_a_target_is_met_when_the_whole_range_is_beyond_it(self):
        rows = []
        for repetition, us in enumerate((400, 420, 440, 460, 480)):  # against 4 requests in 200 us: shares of 0.50 down to 0.42
            rows += machine(repetition) + [
                attend("full_fp32", us, repetition=repetition, entry_B=1e6),
                attend("full_fp16", 230 if repetition < 3 else 300, repetition=repetition, entry_B=1e6),
                attend("collective_fp32", 100, m=500, du=1, repetition=repetition)]
        text = self.show(attention_roofline=rows).stdout
        self.assertEqual(self.line(text, "full KV fp32, C = 1, 1 thread:")[1:], [">= 0.85", "0.45 (0.43-0.48)", "not met"])
        self.assertEqual(self.line(text, "full KV fp16, C = 1, 1 thread:")[3], "undecided")
        self.assertEqual(self.line(text, "CollectiveKV / full, fp32, C = 1, m = 500, uniform")[2:], ["4.40 (4.20-4.60)", "met"])
        self.assertNotIn("m = 10000", text)

    def test_pytorch_stands_beside_the_same_arm(self):
        result = self.show(attention_roofline=machine() + [
            attend("full_fp32", 400, entry_B=1e6), attend("collective_fp32", 100, m=500, du=1), attend("item_table_fp32", 500)],
                           attention_torch=[row(f"torch/{name}/C:1/n:1000/H:2{m}/threads:1/real_time", us, requests=4)
                                            for name, m, us in (("products", "", 1200), ("own_call_collective_fp32", "/m:500", 700),
                                                                ("products_item_table_fp32", "", 1000))])
        self.assertEqual(result.returncode, 0, result.stderr)
        for arm, how, ours, times in (("full_fp32", "products", "100.0", "3.00"), ("collective_fp32 m=500", "own call", "25.0", "7.00"),
                                      ("item_table_fp32", "products", "125.0", "2.00")):
            cells = self.line(result.stdout, f"| {arm} | 1 | 1 | {how} |")
            self.assertEqual(cells[5:], [f"{ours} ({ours}-{ours})", f"{times} ({times}-{times})"])

    def test_rows_of_hstu_stand_beside_weights_and_full_kv(self):
        def stack(arm, cpu_us, m, **work):
            counters = {"requests": 2, "entry_B": 0, "table_B": 0, "table_size": 0, "weight_B": 0, "flops": 0, "exps": 0,
                        "rows_k": 1000, "rows_v": 1000}
            return row(f"stack/{arm}/m:{m}/du:0/zipf:0/threads:1/real_time", cpu_us, **{**counters, **work})
        streams = [row(f"machine/stream/bytes:{size}/threads:1/real_time", 1000, bytes=gb * 1e6)
                   for size, gb in ((1000000, 40), (20000000, 25))]
        silu = row("machine/silu/threads:1/real_time", 1000, exps=2e6)
        result = self.show(stack_roofline=[*machine(), *streams, silu,
                           stack("decode/full_fp32/n:1000/C:8", 400, 0, flops=8e6, exps=1e5),  # 200 us a request, GEMM allows 100
                           stack("decode/recompute_fp32/n:1000/C:8", 800, 0, flops=8e6),
                           stack("decode/collective_fp32/n:1000/C:8", 4000, 9, flops=8e6, weight_B=20e6),  # the weights allow 800
                           stack("prefill/full_fp32/n:50", 400, 0, entry_B=2e6)])
        self.assertEqual(result.returncode, 0, result.stderr)
        full = self.line(result.stdout, "full_fp32", "8.0")
        self.assertEqual(full[6:11], ["40.0 (40.0-40.0)", "gemm", "0.50 (0.50-0.50)", "0.75 (0.75-0.75)", ""])
        self.assertEqual(self.line(result.stdout, "recompute_fp32")[8:], ["0.25 (0.25-0.25)"] * 2 + ["0.50 (0.50-0.50)"])
        self.assertEqual(self.line(result.stdout, "collective_fp32 m=9")[7:],
                         ["weights", "0.40 (0.40-0.40)", "0.45 (0.45-0.45)", "0.10 (0.10-0.10)"])
        self.assertEqual(self.line(result.stdout, "50", "2000 + 0 + 0")[7:9], ["triad", "0.50 (0.50-0.50)"])

    def test_a_wrong_result_stops_everything(self):
        wrong = {**attend("full_fp32", 1), "error_occurred": True, "error_message": "wrong by 0.5"}
        result = self.show(attention_roofline=[wrong])
        self.assertEqual(result.returncode, 1)
        self.assertIn("wrong by 0.5", result.stderr)


if __name__ == "__main__":
    unittest.main()
