# Shared by the scripts: locations, step headings with times, environment of MPI, OpenMP and ccache. Source it, do not run it.
# shellcheck shell=bash

CKVSIM_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
export CKVSIM_ROOT
_started_at=$SECONDS
_step_started_at=$SECONDS
_step_name=
_step_log=()

# Problem on standard error, then exit. usage: die CODE TEXT...
die() {
  local code=$1
  shift
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit "$code"
}

_clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

_close_step() {
  [ -n "$_step_name" ] || return 0
  _step_log+=("$(_clock $((SECONDS - _step_started_at)))  $_step_name")
  _step_name=
}

# Opens a step: heading with the time since the script began.
step() {
  _close_step
  _step_name=$1
  _step_started_at=$SECONDS
  printf '\n== %s (at %s)\n' "$1" "$(_clock $((SECONDS - _started_at)))"
}

# Closes the last step and prints how long each took.
steps_summary() {
  _close_step
  printf '\nTime by step\n'
  printf '  %s\n' "${_step_log[@]}"
  printf '  %s  total\n' "$(_clock $((SECONDS - _started_at)))"
}

# Cores this process may use (affinity included).
cores() { nproc; }

# Compile jobs: one per core, but 1.5 GB each, because a file that includes torch needs 1.2 GB.
build_jobs() {
  local jobs by_memory
  jobs=$(cores)
  by_memory=$(awk '/^MemAvailable:/ {print int($2 / 1572864)}' /proc/meminfo 2>/dev/null || echo "$jobs")
  [ "${by_memory:-0}" -ge 1 ] || by_memory=1
  [ "$by_memory" -lt "$jobs" ] && jobs=$by_memory
  echo "$jobs"
}

# Open MPI as root, with more ranks than cores, ranks not bound to one core each; OpenMP threads share the cores.
# usage: mpi_environment RANKS
mpi_environment() {
  local threads=$(($(cores) / $1))
  [ "$threads" -ge 1 ] || threads=1
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$threads}
  export OMPI_MCA_rmaps_base_oversubscribe=1
  if [ "$(id -u)" = 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  fi
}

# Configures a preset once; later calls let Ninja decide. usage: configure PRESET [cmake arguments]
configure() {
  local preset=$1
  shift
  local arguments=("$@")
  if command -v ccache >/dev/null; then
    export CCACHE_DIR=${CCACHE_DIR:-$CKVSIM_ROOT/build/ccache}
    export CCACHE_BASEDIR=${CCACHE_BASEDIR:-$CKVSIM_ROOT}
    export CCACHE_NOHASHDIR=1
    arguments+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  fi
  local log=$CKVSIM_ROOT/build/$preset-configure.log
  mkdir -p "$CKVSIM_ROOT/build"
  if ! (cd "$CKVSIM_ROOT" && cmake --preset "$preset" "${arguments[@]}") >"$log" 2>&1; then
    cat "$log" >&2
    die 1 "cmake --preset $preset failed (log: build/$preset-configure.log); is everything installed? scripts/setup"
  fi
  grep -E '^-- ckvsim parts' "$log" || true
}

# Builds targets of a configured preset. usage: build PRESET [targets]
build() {
  local preset=$1
  shift
  local targets=()
  [ $# -eq 0 ] || targets=(--target "$@")
  (cd "$CKVSIM_ROOT" && cmake --build --preset "$preset" --parallel "$(build_jobs)" "${targets[@]}") ||
    die 1 "the build of preset $preset failed"
}

# Runs CTest of a preset; leaves "N passed, M failed" in $verdict; returns 1 when a test failed or none ran.
# usage: run_ctest PRESET [ctest arguments]
run_ctest() {
  local preset=$1
  shift
  local log=$CKVSIM_ROOT/build/$preset-ctest.log status=0
  (cd "$CKVSIM_ROOT" && ctest --preset "$preset" --parallel "$(cores)" "$@") 2>&1 | tee "$log" || status=1
  local summary total failed skipped
  summary=$(grep -E '^[0-9]+% tests passed, [0-9]+ tests failed out of [0-9]+$' "$log" | tail -n 1)
  total=${summary##* }
  failed=$(sed -E 's/.*passed, ([0-9]+) tests.*/\1/' <<<"$summary")
  skipped=$(grep -cE '^ *[0-9]+/[0-9]+ Test +#[0-9]+:.*\*\*\*Skipped' "$log" || true)
  if [ -z "$total" ] || [ "$total" -eq 0 ]; then
    echo "no test of preset $preset ran" >&2
    verdict="0 passed, 1 failed"
    return 1
  fi
  [ "$skipped" -eq 0 ] || echo "$skipped of the tests skipped themselves and count as neither"
  # shellcheck disable=SC2034  # read by the callers
  verdict="$((total - failed - skipped)) passed, $failed failed"
  return "$status"
}
