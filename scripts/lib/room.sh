# shellcheck shell=bash
# A bare Debian 12 in a folder, for scripts/checks/clean_room and package_room. Sourced after common.sh; needs root and debootstrap.

# open_room FOLDER: debootstraps a root there (or takes one that was kept) and mounts what programs need. Sets `root`.
open_room() {
  root=$(realpath -m "$1")
  [ "$(id -u)" = 0 ] || die 2 "a chroot needs root"
  command -v debootstrap >/dev/null || die 2 "debootstrap is missing; scripts/setup --groups clean-room installs it"
  local mirror log=$CKVSIM_ROOT/build/debootstrap.log
  mkdir -p "$CKVSIM_ROOT/build"
  # The mirror that serves Debian's bookworm main here, from apt's own view of its sources.
  # shellcheck disable=SC2016  # the dollar signs are apt's
  mirror=$(apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT) $(CREATED_BY)' |
    awk '($2 == "bookworm" || $2 == "stable") && $3 == "main" && $4 == "Packages" && !seen++ {print $1}')
  [ -n "$mirror" ] || die 2 "apt on this machine has no source for Debian 12 (bookworm) main"
  if [ ! -e "$root/etc/debian_version" ]; then
    [ ! -e "$root" ] || [ -z "$(ls -A "$root")" ] || die 2 "$root exists and holds no Debian root"
    step "Bare Debian 12 root"
    debootstrap --variant=minbase bookworm "$root" "$mirror" >"$log" 2>&1 || {
      tail -n 20 "$log" >&2
      die 1 "debootstrap failed"
    }
  fi
  trap close_room EXIT
  # apt inside uses the same sources, proxies and certificates as here.
  rm -f "$root/etc/apt/sources.list"
  cp -a /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/apt.conf.d /etc/apt/trusted.gpg.d "$root/etc/apt/" 2>/dev/null || true
  [ ! -d /etc/apt/keyrings ] || cp -a /etc/apt/keyrings "$root/etc/apt/"
  [ ! -d /usr/share/keyrings ] || cp -a /usr/share/keyrings "$root/usr/share/"
  rm -f "$root"/etc/apt/apt.conf.d/docker-*
  cp -L /etc/resolv.conf "$root/etc/resolv.conf"
  mount -t proc proc "$root/proc"
  mount -t sysfs -o ro sysfs "$root/sys"
  mount --bind /dev "$root/dev"
  mount -t devpts devpts "$root/dev/pts"
  mount -t tmpfs tmpfs "$root/dev/shm"
}

# Unmounts; removes the root unless `keep` is 1.
# shellcheck disable=SC2317  # called by trap
close_room() {
  local place
  for place in dev/shm dev/pts dev proc sys; do
    mountpoint -q "$root/$place" || continue
    # A command that was interrupted may hold it for a moment.
    umount "$root/$place" 2>/dev/null || { sleep 3 && umount "$root/$place"; } || die 1 "cannot unmount $root/$place; the root stays"
  done
  [ "${keep:-0}" = 1 ] || rm -rf --one-file-system "$root"
}

# in_room COMMAND LINE: runs it there with a bare environment, plus what mpirun wants of root on few cores.
in_room() {
  env -i OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 DEBIAN_FRONTEND=noninteractive \
    ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/ TERM=dumb LANG=C.UTF-8 chroot "$root" bash -c "$1"
}

_room_rows=()
room_status=0

# try COMMAND [FOLDER]: runs it in the room; a line for room_summary with its time, verdict and last line. room_status becomes 1 on failure.
try() {
  local begin=$SECONDS verdict=ok last log=$CKVSIM_ROOT/build/${0##*/}.log
  step "$1"
  in_room "cd ${2:-/} && $1" >"$log" 2>&1 || {
    verdict="exit $?"
    room_status=1
  }
  tail -n 40 "$log"
  last=$(sed 's/.*\r//; s/\x1b\[[0-9;]*m//g; s/|/\\|/g; /^[[:space:]]*$/d' "$log" | tail -n 1)
  _room_rows+=("| \`${1//|/\\|}\` | $((SECONDS - begin)) | $verdict | ${last:+\`$last\`} |")
}

# room_rows FILE: adds the rows of a table that a program wrote inside the room.
room_rows() {
  local line
  [ -r "$root$1" ] || return 0
  while IFS= read -r line; do _room_rows+=("$line"); done < <(grep '^| `' "$root$1")
}

# room_summary WORDS: prints what `try` collected as a Markdown table, and writes it to the file `table` if that is set. Exits.
room_summary() {
  local rows=$CKVSIM_ROOT/build/${0##*/}-table.md
  printf '| command | seconds | verdict | last line |\n| --- | ---: | --- | --- |\n' >"$rows"
  printf '%s\n' "${_room_rows[@]}" >>"$rows"
  printf '\nBare Debian 12, %s cores, %s\n\n' "$(cores)" "$1"
  cat "$rows"
  [ -z "${table:-}" ] || cp "$rows" "$table"
  exit "$room_status"
}
