#!/bin/sh
# Install the Debian packages the lab's hosts are made of: only what is missing, and with no service started here.
#
# The hosts see the machine's own / through overlays, and changing a live overlay's lower layer is undefined:
# so nothing is installed while a lab is up.
set -eu

packages='systemd systemd-sysv libpam-systemd dbus openssh-server openssh-client sudo iproute2 util-linux
  passwd procps python3 strace tmux
  postgresql-15 redis-server redis-tools nginx pgbouncer puma ruby-sidekiq ruby-pg ruby-redis'

# Two at once would each take the other's policy file for the one to put back.
exec 9<"$0"
flock 9

missing=''
for package in $packages; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || state=absent
  [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if grep -q ' /run/cutover-lab/' /proc/mounts; then
  echo "packages.sh: a lab is up; take it down before installing:$missing" >&2
  exit 1
fi

# invoke-rc.d asks this file before it starts anything: 101 means "not allowed". One that was there before comes back.
policy=/usr/sbin/policy-rc.d
saved=$policy.before-cutover-lab
restore() {
  rm -f "$policy"
  if [ -e "$saved" ]; then mv "$saved" "$policy"; fi
}
trap restore EXIT
trap 'exit 130' INT TERM HUP
if [ -e "$policy" ] && [ ! -e "$saved" ]; then mv "$policy" "$saved"; fi
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

export DEBIAN_FRONTEND=noninteractive
apt-get update -q >&2 || echo 'packages.sh: apt-get update failed; trying with the lists there are' >&2
# shellcheck disable=SC2086  # a list of words
apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 $missing >&2
