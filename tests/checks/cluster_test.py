#!/usr/bin/python3
"""scripts/cluster: generated job scripts run under a made-up srun, refusals, and hosts on this machine with two ranks."""
import os
import shutil
import stat
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SLURM, HOSTS = ROOT / "scripts/cluster/slurm", ROOT / "scripts/cluster/hosts"
SPEC = ROOT / "workloads/specs/fleet-ci.json"
CKVSIM = Path(os.environ.get("CKVSIM_BINARY_DIR", ROOT / "build/dev")) / "bin/ckvsim"
VERSION = "printf 'commit abcdefabcdef0123\\ndirty %s\\nversion 0.1.0\\nmpi Open MPI v4\\n' \"${FAKE_DIRTY:-no}\""


class Cluster(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="ckvsim-cluster-")
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        self.tools = self.folder / "tools"
        self.tools.mkdir()
        self.program = self.tool("ckvsim", VERSION)

    def tool(self, name, body):
        path = self.tools / name
        path.write_text("#!/bin/bash\n" + body + "\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    def run_script(self, script, *arguments, path=None, **variables):
        environment = dict(os.environ, PATH=path or f"{self.tools}:{os.environ['PATH']}", **variables)
        return subprocess.run([str(script), *map(str, arguments)], capture_output=True, text=True, check=False,
                              env=environment, cwd=self.folder, timeout=100)

    def bare_path(self, *tools):
        """A PATH with nothing but these."""
        folder = self.folder / "bare"
        folder.mkdir(exist_ok=True)
        for tool in tools:
            (folder / tool).symlink_to(shutil.which(tool))
        return str(folder)

    def refuse(self, code, words, result):
        self.assertEqual(result.returncode, code, result.stderr)
        self.assertIn(words, result.stderr)
        self.assertNotIn("Traceback", result.stderr)


class Slurm(Cluster):
    def slurm(self, *arguments, **options):
        return self.run_script(SLURM, SPEC, "--nodes", 4, "--ranks-per-node", 2, "--time", "2:00:00", "--bin", self.program,
                               *arguments, **options)

    def job(self, *arguments):
        done = self.slurm(*arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def run_job(self, text, **variables):
        """The job script on this machine; srun prints what it was asked for, one argument a line."""
        self.tool("srun", 'echo "threads $OMP_NUM_THREADS"; printf "%s\\n" "$@"')
        job = self.folder / "job.sbatch"
        job.write_text(text)
        return self.run_script("bash", job, SLURM_CPUS_ON_NODE="64", SLURM_JOB_ID="77", SLURM_JOB_NUM_NODES="4",
                               SLURM_NTASKS="8", SLURM_JOB_NODELIST="n[1-4]", **variables)

    def test_whole_nodes_are_shared_out(self):
        text = self.job("--partition", "gpu", "--account", "a-b")
        for line in ("--job-name=fleet-ci", "--nodes=4", "--ntasks-per-node=2", "--time=2:00:00", "--exclusive", "--mem=0",
                     f"--chdir={ROOT}", "--output=results/local/fleet-ci-%j.log", "--partition=gpu", "--account=a-b"):
            self.assertIn(f"\n#SBATCH {line}\n", text)
        self.assertNotIn("--cpus-per-task=", text.split("set -euo")[0])
        done = self.run_job(text)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout.split("\n")[1:-1], [
            "threads 32", "--mpi=pmix", "--cpus-per-task=32", "--cpu-bind=cores", "--kill-on-bad-exit=1", str(self.program),
            "run", str(SPEC), "-o", "results/local/fleet-ci-77.h5"])

    def test_given_threads_leave_nodes_shared(self):
        text = self.job("--threads", 16, "--memory", "64G", "--mpi", "pmi2")
        self.assertIn("\n#SBATCH --cpus-per-task=16\n#SBATCH --mem=64G\n", text)
        self.assertNotIn("--exclusive", text)
        self.assertIn("threads 16\n--mpi=pmi2\n--cpus-per-task=16\n", self.run_job(text).stdout)

    def test_arguments_reach_ckvsim_unchanged(self):
        odd = '/x="a $(touch made) \' b"'
        done = self.run_job(self.job("--", "--set", odd, "-o", "mine.h5"))
        self.assertIn(f"{SPEC}\n--set\n{odd}\n-o\nmine.h5\n", done.stdout)
        self.assertNotIn("fleet-ci-77.h5", done.stdout)
        self.assertFalse((self.folder / "made").exists())

    def test_a_job_says_what_its_node_lacks(self):
        text = self.job()
        self.program.unlink()
        self.refuse(2, f"{self.program}: not on this node", self.run_job(text))

    def test_scripts_are_clean_bash(self):
        for name, arguments in (("whole", ()), ("shared", ("--threads", "4", "--", "--set", "/a='b c'"))):
            job = self.folder / f"{name}.sh"
            job.write_text(self.job(*arguments))
            self.assertEqual(subprocess.run(["bash", "-n", job], check=False).returncode, 0)
            if shutil.which("shellcheck"):
                found = subprocess.run(["shellcheck", job], capture_output=True, text=True, check=False)
                self.assertEqual(found.stdout, "")

    def test_submitting(self):
        job = self.folder / "job.sbatch"
        self.tool("sbatch", 'echo "sbatch got $1"; exit 9')
        done = self.slurm("--output", job, "--submit")
        self.assertEqual(done.returncode, 9)
        self.assertIn(f"sbatch got {job}", done.stdout)
        self.assertIn("srun", job.read_text())
        job.unlink()
        nowhere = self.bare_path("python3", "env")
        self.refuse(3, "sbatch is not here", self.slurm("--output", job, "--submit", path=nowhere))
        self.assertFalse(job.exists())
        self.assertEqual(self.slurm("--output", job, path=nowhere).returncode, 0)
        self.assertTrue(job.exists())

    def test_refusals(self):
        self.refuse(2, "no time limit", self.slurm("--time", "soon"))
        self.refuse(2, "no size", self.slurm("--memory", "much"))
        self.refuse(2, "--partition: 'a\\n#SBATCH --x' is no name", self.slurm("--partition", "a\n#SBATCH --x"))
        self.refuse(2, "argument --nodes", self.slurm("--nodes", "0"))
        self.refuse(2, "no program there", self.slurm("--bin", "missing"))
        self.refuse(2, "cannot write", self.slurm("--output", "no/folder/job"))
        common = ("--nodes", 1, "--ranks-per-node", 1, "--time", 5, "--bin", self.program)
        self.refuse(2, "cannot read the spec", self.run_script(SLURM, "missing.json", *common))
        (self.folder / "bad.json").write_text("{")
        self.refuse(2, "is not JSON", self.run_script(SLURM, "bad.json", *common))
        self.refuse(2, "--ranks-per-node", self.run_script(SLURM, SPEC, "--nodes", 1, "--time", 5))

    def test_times_that_slurm_takes(self):
        for time in ("30", "30:00", "2:00:00", "1-0", "1-12:30", "2-0:00:00"):
            self.assertIn(f"#SBATCH --time={time}\n", self.job("--time", time))


class Hosts(Cluster):
    def setUp(self):
        super().setUp()
        self.tool("mpirun", 'if [ "$1" = --version ]; then echo "mpirun (Open MPI) 4.1.4"; exit; fi\n'
                            'cat "$2"; printf "%s\\n" "$@"; exit 6')
        # ssh -o X -o Y HOST COMMAND: runs it here; the host named "other" has another program, "down" is down.
        self.tool("ssh", '[ "$5" != down ] || { echo "no route to host" >&2; exit 255; }\n'
                         '[ "$5" != other ] || export FAKE_DIRTY=yes\nexec bash -c "$6"')
        self.tool("nproc", "echo 8")
        self.tool("lscpu", "for i in 0 1 2 3 4 5 6 7; do echo $i,0; done")

    def hosts(self, *arguments, **options):
        return self.run_script(HOSTS, SPEC, "--bin", self.program, *arguments, **options)

    def test_hosts_are_asked_and_ranks_bound(self):
        (self.folder / "list").write_text("# all\n\na  # first\nb\n")
        done = self.hosts("--hosts", "list", "--ranks-per-host", 2, "--env", "X=1 2", "--", "--set", "/seed=2")
        self.assertEqual(done.returncode, 6)  # mpirun's own
        self.assertTrue(done.stdout.startswith("a slots=2\nb slots=2\n--hostfile\n"), done.stdout)
        self.assertIn("-n\n4\n--map-by\nppr:2:node:PE=4\n--bind-to\ncore\n-x\nOMP_NUM_THREADS=4\n", done.stdout)
        self.assertIn("-x\nX=1 2\n", done.stdout)
        self.assertTrue(done.stdout.endswith(f"--wdir\n{ROOT}\n{self.program}\nrun\n{SPEC}\n--set\n/seed=2\n"))

    def test_threads_beyond_the_cores(self):
        self.refuse(2, "more than the 8 cores", self.hosts("--hosts", "a", "--ranks-per-host", 3, "--threads", 3))
        done = self.hosts("--hosts", "a", "--ranks-per-host", 3, "--threads", 3, "--oversubscribe")
        self.assertIn("ppr:3:node:oversubscribe\n--bind-to\nnone\n-x\nOMP_NUM_THREADS=3\n", done.stdout)

    def test_hosts_that_do_not_answer_or_differ(self):
        self.refuse(5, "down: no route to host", self.hosts("--hosts", "a,down"))
        self.refuse(5, "other: ckvsim is '0.1.0, commit abcdefabcdef (changed), Open MPI v4', but '0.1.0, commit "
                       "abcdefabcdef (clean), Open MPI v4' on a", self.hosts("--hosts", "a,other"))
        self.tool("ckvsim", "echo 'libhdf5.so: cannot open' >&2; exit 127")
        self.refuse(5, "a: libhdf5.so: cannot open", self.hosts("--hosts", "a"))

    def test_ranks_need_a_program_with_mpi(self):
        self.tool("ckvsim", VERSION.replace("Open MPI v4", "none (built without MPI)"))
        self.refuse(2, "2 ranks would each do the whole job", self.hosts("--hosts", "a,b"))
        self.assertEqual(self.hosts("--hosts", "a").returncode, 6)  # mpirun's own

    def test_a_dry_run_asks_no_host(self):
        done = self.hosts("--hosts", "down,b", "--ranks-per-host", 2, "--threads", 3, "--dry-run")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("hostfile: down slots=2; b slots=2", done.stdout)
        self.assertIn("-n 4 --map-by ppr:2:node:PE=3 --bind-to core", done.stdout)

    def test_refusals(self):
        self.refuse(2, "a twice", self.hosts("--hosts", "a,b,a"))
        self.refuse(2, "'-oProxyCommand=x' is no name", self.hosts("--hosts=-oProxyCommand=x"))
        self.refuse(2, "no/list: does not exist", self.hosts("--hosts", "no/list"))
        (self.folder / "empty").write_text("# none\n")
        self.refuse(2, "holds no host", self.hosts("--hosts", "empty"))
        self.refuse(2, "neither NAME nor NAME=VALUE", self.hosts("--hosts", "a", "--env", "1=2"))
        self.refuse(2, "no program there", self.hosts("--hosts", "a", "--bin", "missing"))
        bare = self.bare_path("python3", "env")
        self.refuse(3, "mpirun is not here", self.hosts("--hosts", "a", path=bare))
        self.tool("mpirun", "echo 'HYDRA build details'")
        self.refuse(3, "not Open MPI's", self.hosts("--hosts", "a"))

    def test_two_ranks_on_this_machine(self):
        mpirun = shutil.which("mpirun")
        if not mpirun or not CKVSIM.exists():
            self.skipTest("needs mpirun and a built ckvsim")
        said = subprocess.run([CKVSIM, "version"], capture_output=True, text=True, check=False).stdout
        if "without MPI" in said:
            self.skipTest("ckvsim was built without MPI")
        report = self.folder / "report.h5"
        done = self.run_script(HOSTS, SPEC, "--hosts", "localhost", "--ranks-per-host", 2, "--threads", 1, "--oversubscribe",
                               "--bin", CKVSIM, "--", "-q", "--set", "/traffic/requests=2000", "-o", report,
                               path=os.environ["PATH"])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("-n 2", done.stderr)
        self.assertIn("hash/logical", done.stdout)
        self.assertGreater(report.stat().st_size, 1000)


if __name__ == "__main__":
    unittest.main()
