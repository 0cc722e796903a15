#!/bin/sh
# What all hosts of the lab share, written once into the base layer. Runs inside a chroot of that layer.
# usage: base.sh < the lab's public key
set -eu
key=$(cat)

# --- users -----------------------------------------------------------------------------------------------------------
groupadd --gid 2000 cutover
useradd --uid 2001 --groups cutover --create-home --shell /bin/bash --password '*' deploy
useradd --uid 2002 --create-home --shell /bin/bash --password '*' nosudo
useradd --uid 2003 --user-group --home-dir /srv/app --no-create-home --shell /usr/sbin/nologin --password '*' mastodon
echo 'deploy ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/lab
chmod 440 /etc/sudoers.d/lab
for user in root deploy nosudo; do
  home=$(getent passwd "$user" | cut -d: -f6)
  install -d -m 700 -o "$user" -g "$user" "$home/.ssh"
  printf '%s\n' "$key" >"$home/.ssh/authorized_keys"
  chown "$user:$user" "$home/.ssh/authorized_keys"
done
install -d -m 2770 -g cutover /var/lib/cutover && : >/var/lib/cutover/claim

# --- systemd: only what is named here starts ----------------------------------------------------------------------------
# (/etc/systemd/system is opaque: what the machine has enabled for itself is not enabled in the hosts.)
cd /etc/systemd/system
ln -s /etc/systemd/system/lab.target default.target
ln -s /lib/systemd/system/ssh.service sshd.service
mkdir multi-user.target.wants
ln -s /lib/systemd/system/ssh.service multi-user.target.wants/ssh.service

# Everything that boots, and then a word to the lab that it has.
cat >lab.target <<'UNIT'
[Unit]
Description=A host of the lab
Requires=multi-user.target
Wants=lab-ready.service
After=multi-user.target
AllowIsolate=yes
UNIT
cat >lab-ready.service <<'UNIT'
[Unit]
Description=Tell the lab that this host has booted
After=multi-user.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/touch /run/lab-ready
UNIT

# These would touch the machine's kernel, or only cost time in a host without hardware.
for unit in systemd-sysctl systemd-modules-load systemd-binfmt systemd-random-seed systemd-remount-fs systemd-udevd \
  systemd-udev-trigger systemd-hwdb-update systemd-tmpfiles-setup-dev systemd-pstore systemd-update-utmp \
  systemd-update-utmp-runlevel systemd-sysusers systemd-firstboot systemd-journal-catalog-update systemd-update-done \
  systemd-machine-id-commit systemd-boot-system-token systemd-ask-password-console systemd-ask-password-wall \
  ldconfig kmod-static-nodes modprobe@ console-getty e2scrub_reap; do
  ln -s /dev/null "$unit.service"
done
for unit in sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount \
  dev-hugepages.mount dev-mqueue.mount proc-sys-fs-binfmt_misc.automount proc-sys-fs-binfmt_misc.mount \
  systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-ask-password-console.path \
  systemd-ask-password-wall.path getty.target getty-static.service systemd-tmpfiles-clean.timer; do
  ln -s /dev/null "$unit"
done
mkdir -p /etc/systemd/journald.conf.d
printf '[Journal]\nStorage=persistent\nSystemMaxUse=32M\n' >/etc/systemd/journald.conf.d/lab.conf
# A host that is asked to go down does so within seconds, also when a unit does not want to.
mkdir -p /etc/systemd/system.conf.d
printf '[Manager]\nDefaultTimeoutStopSec=15s\nShowStatus=no\n' >/etc/systemd/system.conf.d/lab.conf

# --- sshd --------------------------------------------------------------------------------------------------------------
rm -f /etc/ssh/ssh_host_*
mkdir -p /etc/ssh/sshd_config.d
cat >/etc/ssh/sshd_config.d/lab.conf <<'SSHD'
HostKey /etc/ssh/ssh_host_ed25519_key
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UseDNS no
PrintMotd no
PrintLastLog no
SSHD

# --- names and the rest of /etc ----------------------------------------------------------------------------------------
: >/etc/fstab
: >/etc/resolv.conf # no name server: a question for one fails at once
rm -f /etc/motd /etc/profile.d/*.sh /var/lib/dbus/machine-id /etc/localtime
ln -s /usr/share/zoneinfo/Etc/UTC /etc/localtime
mkdir -p /var/lib/dbus /var/log/journal
ln -s /etc/machine-id /var/lib/dbus/machine-id
