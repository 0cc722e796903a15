#!/bin/sh
# The power supply of one host: boot it, and boot it again when it asks for a reboot; anything else is "off".
# usage: hostloop.sh CGROUP NETNS HOSTINIT  (the rest in the environment, see hostinit.sh)
set -u
cgroup=$1 netns=$2 hostinit=$3

while :; do
  # Into the cgroup first: the cgroup namespace takes the place where it is made as its root.
  (
    echo 0 >"$cgroup/cgroup.procs" &&
      exec nsenter --net="$netns" unshare --pid --mount --uts --ipc --cgroup --fork --kill-child "$hostinit"
  ) </dev/null
  # In a pid namespace the kernel turns reboot(2) into the death of its init: by SIGHUP for a restart.
  [ $? -eq 129 ] || exit 0
done
