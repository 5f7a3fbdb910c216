# What installs Debian's packages on the development machine, for the scripts that source this: they say on standard error
# what they install and why.

say() { echo "setup: $*"; }
give_up() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif have sudo; then sudo "$@"; else give_up "root (or sudo) is needed for: $*"; fi
}

updated=
apt_update() {
    [ -n "$updated" ] && return
    say "reading the package lists (apt-get update)"
    as_root apt-get -q update || say "apt-get update reported errors; going on with the lists that are there"
    updated=1
}

# install WHY PACKAGE...
install() {
    why=$1; shift
    have apt-get || give_up "please install what Debian calls '$*' ($why); this script knows only apt-get"
    apt_update
    say "installing $* ($why)"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "$@" \
        || give_up "apt-get could not install: $*"
}

available() { apt-cache policy "$1" 2>/dev/null | grep -q 'Candidate: [0-9]'; }
