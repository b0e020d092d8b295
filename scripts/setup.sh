# shellcheck shell=bash
# What `up` and `test` need on the machine. Each function leaves alone what is there, installs what is
# missing from Debian's packages, and stops with one clear line when it cannot.
# The caller has set `repository` and `state_dir` and has read `report.sh`.
: "${repository:?}" "${state_dir:?}"

# Runs a command as root: as we are, or through sudo where it asks no password.
as_root() {
    if ((EUID == 0)); then
        "$@"
    else
        sudo -n "$@"
    fi
}

# `$1` says what for, in words that follow "needed".
require_root() {
    ((EUID == 0)) && return
    if ! command -v sudo >/dev/null; then
        fail "root is needed $1, and there is no sudo; run this once as root"
    elif ! sudo -n true 2>/dev/null; then
        fail "root is needed $1; run 'sudo -v' first, then this again in the same terminal"
    fi
}

# Whether this run has fetched the package lists already.
package_lists=old

# Installs those of Debian's packages that are not there.
install_packages() {
    local package missing=() log=$state_dir/log/apt.log
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null ||
        fail "missing: ${missing[*]} (Debian's names); install them with this system's own package manager"
    require_root "to install ${missing[*]}"
    note "installing ${missing[*]}"
    {
        # A new machine has no package lists, and an old one has lists of packages that are gone.
        if [[ $package_lists == old ]]; then as_root apt-get -q -o DPkg::Lock::Timeout=120 update; fi &&
            as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 \
                install --no-install-recommends "${missing[@]}"
    } >"$log" 2>&1 </dev/null || explain_failure "apt-get install ${missing[*]}" "$log"
    package_lists=fresh
    done_line "installed ${missing[*]}"
}

# Installs packages when a command is missing: require_command COMMAND PACKAGE…
require_command() {
    command -v "$1" >/dev/null || install_packages "${@:2}"
}

# The engine's version when it answers, nothing otherwise; complaints go to a log.
docker_version() {
    timeout 20 docker version --format '{{.Server.Version}}' 2>"$state_dir/log/docker-version.log"
}

require_docker() {
    local version
    if ! command -v docker >/dev/null; then
        # From Debian 13 on the client is a package of its own, which docker.io does not depend on.
        local packages=(docker.io)
        if command -v apt-cache >/dev/null && [[ -n $(apt-cache search --names-only '^docker-cli$') ]]; then
            packages+=(docker-cli)
        fi
        install_packages "${packages[@]}"
    fi
    if ! version=$(docker_version); then
        if grep -qi 'permission denied' "$state_dir/log/docker-version.log"; then
            fail "no rights on Docker's socket; join its group with 'sudo usermod -aG docker $(id -un)', log in again, then run this again"
        elif [[ -n ${DOCKER_HOST:-} ]]; then
            fail "DOCKER_HOST is $DOCKER_HOST, and no engine answers there: $(last_words "$state_dir/log/docker-version.log"); start it, or unset DOCKER_HOST"
        fi
        start_docker
        version=$(docker_version) || fail "Docker does not answer: $(last_words "$state_dir/log/docker-version.log")"
    fi
    done_line "Docker Engine $version answers"
}

start_docker() {
    local log=$state_dir/log/dockerd.log pid turn
    require_root "to start Docker"
    if [[ -d /run/systemd/system ]]; then
        note "starting Docker (systemctl start docker)"
        as_root systemctl start docker >"$log" 2>&1 ||
            fail "Docker does not start; see: journalctl -u docker --no-pager -n 20"
        return
    fi
    # A machine without systemd: a container, or a system that starts nothing by itself.
    command -v dockerd >/dev/null || install_packages docker.io
    note "starting dockerd in the background (log: $log)"
    : >"$log"
    # Its own session and no inherited descriptors, so that it outlives this script and holds nobody's pipe open.
    as_root setsid dockerd >>"$log" 2>&1 </dev/null &
    pid=$!
    for ((turn = 0; turn < 300; turn++)); do
        docker_version >/dev/null && return
        kill -0 "$pid" 2>/dev/null || fail "dockerd ended at once: $(last_words "$log") (whole log: $log)"
        sleep 0.2
    done
    fail "dockerd does not answer after a minute: $(last_words "$log") (whole log: $log)"
}

# Stops early when the disk cannot take what is still to come: a full disk halfway shows in far less clear ways.
require_disk() {
    local root image needed=1
    for image in base firefox blender tiny; do
        docker image inspect "cosage/$image:latest" >/dev/null 2>&1 || needed=6
    done
    root=$(docker info --format '{{.DockerRootDir}}' 2>/dev/null) || root=''
    # An engine on another machine has its own disk.
    [[ -z $root || ! -d $root ]] || require_space "$root" "$needed" "Docker's images"
    needed=1
    [[ -x $repository/target/release/cosage ]] || needed=3
    require_space "$repository" "$needed" "the build"
}

require_space() {
    local available
    available=$(df --output=avail -B1M "$1" | tail -n 1)
    ((available >= $2 * 1024)) ||
        fail "the disk under $1 has $((available / 1024)) GiB left, and $3 may need $2 GiB; free some space and run this again"
}

require_rust() {
    local wanted found
    # A shell that was open when rustup installed does not have it in its PATH yet.
    command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    command -v cargo >/dev/null ||
        fail "Rust is missing; install it with rustup (https://rustup.rs), then run this again"
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$repository/Cargo.toml")
    found=$(cd "$repository" && rustc --version) || fail "rustc does not run; install a toolchain with: rustup toolchain install stable"
    found=$(cut -d ' ' -f 2 <<<"$found")
    [[ $(printf '%s\n' "$wanted" "${found%%-*}" | sort -V | head -n 1) == "$wanted" ]] ||
        fail "Rust $found is too old, $wanted or newer is needed; run: rustup update stable"
    # SQLite is compiled from its C source.
    command -v cc >/dev/null || install_packages gcc libc6-dev
}

# Installs a subcommand of cargo that `test` needs and the machine lacks, outside this clone, so that the next clone finds
# it: require_cargo_tool COMMAND VERSION [OPTION…]. Returns 1 when it cannot be had.
require_cargo_tool() {
    local command=$1 version=$2 root log=$state_dir/log/$1.log
    ! cargo "${command#cargo-}" --version >/dev/null 2>&1 || return 0
    root=${XDG_CACHE_HOME:-$HOME/.cache}/cosage-test/$command-$version
    if [[ ! -x $root/bin/$command ]]; then
        note "installing $command $version (takes a few minutes, once)"
        # Compiling it costs far more than what it does here, so nothing is optimized.
        CARGO_PROFILE_DEV_DEBUG=false CARGO_INCREMENTAL=0 CARGO_TERM_PROGRESS_WHEN=never \
            cargo install --locked --profile dev --root "$root" "$command" --version "$version" "${@:3}" \
            >"$log" 2>&1 </dev/null || return 1
        done_line "installed $command $version"
    fi
    PATH=$root/bin:$PATH
}

require_node() {
    local version
    require_command node nodejs
    require_command npm npm
    version=$(node --version)
    version=${version#v}
    ((${version%%.*} >= 18)) || fail "Node.js $version is too old, 18 or newer is needed; install Debian 12's nodejs or a newer one"
}

# What the console is built from, as one number.
console_sources() {
    cd "$repository/web" &&
        find . \( -name node_modules -o -path ./dist \) -prune -o -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum
}

# The console's tools and libraries, and a Node.js that is new enough for them where the system's is not, as Debian 12's.
console_packages() {
    local node=node version
    version=$(node --version)
    cd "$repository/web" || return
    if [[ $(printf '%s\n' v22.18.0 "$version" | sort -V | head -n 1) != v22.18.0 ]]; then
        (cd node && npm_packages npm)
        node=$(echo "$PWD"/node/node_modules/node-linux-*/bin/node)
    fi
    # npm leaves out optional packages that the Node.js it runs on is too old for.
    npm_packages "$node" "$(readlink -f "$(command -v npm)")"
}

# npm_packages NPM…: installs the packages of this directory, unless they are there.
npm_packages() {
    [[ node_modules/.package-lock.json -nt package-lock.json ]] || "$@" ci --no-audit --no-fund
}

# Builds the console when something has changed.
build_console() {
    local built=$state_dir/console sources
    sources=$(console_sources)
    [[ ! -e $repository/web/dist/index.html || ! -e $built || $(<"$built") != "$sources" ]] || return 0
    console_packages
    npm run build
    echo "$sources" >"$built"
}

build_service() {
    (build_console)
    cd "$repository" && CARGO_TERM_PROGRESS_WHEN=never cargo build --release --locked --bin cosage
}
