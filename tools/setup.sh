# shellcheck shell=bash
# Sourced by ./demo and ./test: install what is missing, build, and the environment for mpirun.
#
# setup_packages INSTALL [FILE...]   INSTALL = yes installs missing packages (as root or through sudo), no only checks;
#                          FILE: further lists beside tools/packages.txt
# setup_build PRESET       configure and build; quiet unless something fails.

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

setup_packages() {
    local wanted missing=() name sudo=
    wanted=$(sed 's/#.*//' "$ROOT/tools/packages.txt" "${@:2}")
    for name in $wanted; do
        dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
    done
    if [ ${#missing[@]} = 0 ]; then
        say "all packages are installed"
        return
    fi
    if [ "$1" != yes ]; then
        die "missing packages: ${missing[*]} (run without --no-install, or: apt-get install ${missing[*]})"
    fi
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || die "missing packages: ${missing[*]}; run as root or install sudo"
        sudo=sudo
    fi
    say "installing: ${missing[*]}"
    local log
    log=$(mktemp)
    # tshark asks whether users may capture; nd never captures, so: no.
    echo 'wireshark-common wireshark-common/install-setuid boolean false' | $sudo debconf-set-selections 2>/dev/null || true
    { $sudo apt-get -o DPkg::Lock::Timeout=300 update &&
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}"; } \
        >"$log" 2>&1 || { tail -20 "$log" >&2; die "apt-get failed (log: $log)"; }
    rm -f "$log"
}

setup_build() {
    local log="$ROOT/build/$1.log"
    mkdir -p "$ROOT/build"
    say "building build/$1"
    { cmake -S "$ROOT" --preset "$1" && cmake --build "$ROOT/build/$1"; } >"$log" 2>&1 || {
        tail -40 "$log" >&2
        die "the build failed (log: build/$1.log)"
    }
    grep -h -- '-- nd:' "$log" >&2 || true
}

# Open MPI's settings for a small shared machine: root is allowed, ranks may share cores and yield while they wait.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_pml=ob1 OMPI_MCA_btl=self,vader
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
