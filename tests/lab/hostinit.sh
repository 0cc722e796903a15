#!/bin/sh
# The first process in a host's own namespaces: put its file system together, then become its systemd.
# From the environment: LAB_NAME, LAB_LAYERS (the read-only layers, topmost first), LAB_DISK (the tmpfs with what the
# host writes) and LAB_BINDS (directories of the machine to show read-only, one per line).
set -eu

mount --make-rprivate /
root=$LAB_DISK/root
mkdir -p "$LAB_DISK/upper" "$LAB_DISK/work" "$root"
mount -t overlay -o "lowerdir=$LAB_LAYERS,upperdir=$LAB_DISK/upper,workdir=$LAB_DISK/work" lab "$root"

mount -t tmpfs -o mode=755,nosuid,nodev,size=128m tmpfs "$root/run"
mount -t tmpfs -o mode=1777,nosuid,nodev,size=128m tmpfs "$root/tmp"

mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
# A write below /proc/sys would reach the machine's kernel. The boot id is the machine's too: a host gets its own.
for part in sys sysrq-trigger irq bus; do
  [ -e "$root/proc/$part" ] || continue
  mount --bind "$root/proc/$part" "$root/proc/$part"
done
cat /proc/sys/kernel/random/uuid >"$root/run/lab-boot-id"
mount --bind "$root/run/lab-boot-id" "$root/proc/sys/kernel/random/boot_id"
for part in sys sysrq-trigger irq bus; do
  [ -e "$root/proc/$part" ] || continue
  mount -o remount,bind,ro "$root/proc/$part"
done

mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup"

mount -t tmpfs -o mode=755,size=4m tmpfs "$root/dev"
cd "$root/dev"
mknod -m 666 null c 1 3
mknod -m 666 zero c 1 5
mknod -m 666 full c 1 7
mknod -m 666 random c 1 8
mknod -m 666 urandom c 1 9
mknod -m 666 tty c 5 0
mknod -m 600 console c 1 3
mkdir pts shm mqueue
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts pts
mount -t tmpfs -o mode=1777,nosuid,nodev,size=64m tmpfs shm
ln -s pts/ptmx ptmx
ln -s /proc/self/fd fd
ln -s fd/0 stdin
ln -s fd/1 stdout
ln -s fd/2 stderr

printf '%s\n' "$LAB_BINDS" | while IFS= read -r path; do
  [ -n "$path" ] || continue
  mkdir -p "$root$path"
  mount --bind "$path" "$root$path"
  mount -o remount,bind,ro "$root$path"
done

hostname "$LAB_NAME"
cd "$root"
mkdir -p mnt/machine
pivot_root . mnt/machine
umount -l /mnt/machine
rmdir /mnt/machine
exec env -i container=lab PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system
