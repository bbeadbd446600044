#!/bin/sh
# Boots the systemd of this machine as the first process of namespaces of its own, on a root in memory that shares
# nothing with the machine but /usr and the network. To be run by `unshare --mount --pid --cgroup --ipc --uts --fork`.
# Arguments: an empty folder for the root, the binary under test, a folder of units.
set -eu
root=$1 binary=$2 units=$3

mount -t tmpfs -o mode=755 tmpfs "$root"
cd "$root"
mkdir -p usr etc/systemd/system var/log run tmp root dev proc sys old
for part in bin sbin lib lib32 lib64; do
    if [ -L "/$part" ]; then
        cp -P "/$part" .
    elif [ -d "/$part" ]; then
        mkdir "$part"
        mount --rbind "/$part" "$part"
    fi
done
mount --rbind /usr usr
mount -t tmpfs tmpfs usr/local
mkdir usr/local/bin
touch usr/local/bin/evenkeel
mount --bind "$binary" usr/local/bin/evenkeel
cp "$units"/*.service "$units"/*.socket etc/systemd/system/

# Of the machine's own units only those that a service needs: none that would touch the kernel or devices.
own=lib/systemd/system
mount -t tmpfs tmpfs run
for unit in systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket sysinit.target basic.target \
    sockets.target multi-user.target network.target network-online.target shutdown.target umount.target final.target; do
    if [ -f "$own/$unit" ]; then cp "$own/$unit" run/; fi
done
mount -t tmpfs tmpfs "$own"
mv run/*.* "$own/"
if [ -d lib/systemd/system-generators ]; then mount -t tmpfs tmpfs lib/systemd/system-generators; fi
printf '[Unit]\nRequires=systemd-journald.service\nAfter=systemd-journald.service\n' >etc/systemd/system/booted.target

printf 'root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n' >etc/passwd
printf 'root:x:0:\nnogroup:x:65534:\n' >etc/group
printf 'passwd: files systemd\ngroup: files systemd\nhosts: files\n' >etc/nsswitch.conf
tr -d - </proc/sys/kernel/random/uuid >etc/machine-id
cp /etc/ld.so.cache etc/ 2>/dev/null || true

mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs tmpfs dev
mkdir dev/pts dev/shm dev/mqueue
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs tmpfs dev/shm
mount -t mqueue mqueue dev/mqueue
if [ -d /sys/fs/cgroup/systemd ]; then
    mount -t tmpfs tmpfs sys/fs/cgroup
    mkdir sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
    if [ -d /sys/fs/cgroup/unified ]; then
        mkdir sys/fs/cgroup/unified
        mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
    fi
else
    mount -t cgroup2 cgroup2 sys/fs/cgroup
fi

pivot_root . old
umount -l old
exec env -i container=test PATH=/usr/bin:/usr/sbin:/bin:/sbin /lib/systemd/systemd --system --unit=booted.target \
    --log-target=journal --show-status=no
