#!/bin/bash
# Boots one throwaway host: real systemd in fresh namespaces, over an overlay of `/`.
#
#   boot.sh outer NAME TRUEUP UNIT...
#   boot.sh outer NAME TRUEUP bare      without systemd: nothing runs but what is started
#
# Prints `init PID` (as seen from outside), then runs until its standard input
# closes. However the test ends, the host goes with it: no process, mount,
# folder or control group stays behind. Begin at `outer`.
set -euo pipefail

# The keeper: stays outside the host's pid namespace and cleans up after it.
outer() {
    local groups=$scratch/cgroup group init
    mount -t tmpfs -o mode=755 tmpfs "$scratch"
    mkdir "$groups"
    mount -t cgroup2 cgroup2 "$groups"
    # Two systemds in one control group would kill each other's services.
    group=$groups/${scratch##*/}
    mkdir "$group"

    # Descriptor 3 is our caller's standard input; the host must not hold it.
    exec 3<&0 </dev/null
    (
        echo 0 >"$group/cgroup.procs"
        exec 3<&- unshare --fork --kill-child=KILL --pid --mount --uts --ipc --cgroup --net \
            bash "$0" inner "$@"
    ) &
    init=$!
    exec >/dev/null
    # A closed standard input and a host that died by itself both end the wait.
    local answer=255
    while kill -0 "$init" 2>/dev/null && ((answer > 128)); do
        answer=0
        read -r -t 0.5 _ <&3 || answer=$?
    done
    # The first process of a pid namespace takes all others with it, and unshare reaps it.
    local first
    read -r first <"/proc/$init/task/$init/children" 2>/dev/null || true
    kill -KILL ${first:-"$init"} 2>/dev/null || true
    wait "$init" 2>/dev/null || true
    # The kernel empties a control group a moment after its last process is gone.
    local tries=0
    while [[ -d $group ]] && ((tries++ < 200)); do
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.02
    done
}

# Units that are slow, useless or harmful here: they would write to the one
# kernel that all hosts share, or wait for devices that do not exist.
masked=(
    console-getty.service cryptsetup.target dev-hugepages.mount dev-mqueue.mount
    e2scrub_reap.service getty.target integritysetup.target kmod-static-nodes.service
    modprobe@drm.service proc-sys-fs-binfmt_misc.automount proc-sys-fs-binfmt_misc.mount remote-fs.target
    sys-fs-fuse-connections.mount sys-kernel-config.mount sys-kernel-debug.mount
    sys-kernel-tracing.mount systemd-ask-password-console.path systemd-ask-password-wall.path
    systemd-binfmt.service systemd-firstboot.service systemd-initctl.socket
    systemd-journal-flush.service systemd-journald-audit.socket systemd-logind.service
    systemd-machine-id-commit.service systemd-modules-load.service systemd-networkd.service
    systemd-pcrphase-sysinit.service systemd-pcrphase.service systemd-random-seed.service
    systemd-remount-fs.service systemd-repart.service systemd-resolved.service
    systemd-sysctl.service systemd-sysusers.service systemd-timesyncd.service
    systemd-tmpfiles-clean.timer systemd-tmpfiles-setup-dev.service
    systemd-udev-trigger.service systemd-udevd.service systemd-udevd-control.socket
    systemd-udevd-kernel.socket systemd-update-utmp-runlevel.service
    systemd-update-utmp.service veritysetup.target
)

# The host itself, from the first process of its pid namespace to systemd.
inner() {
    local name=$1 trueup=$2 root=$scratch/root
    shift 2
    # This /proc is still the outer one, so it tells our outer pid.
    local pid
    read -r pid _ </proc/self/stat
    echo "init $pid"

    mkdir "$root" "$scratch/upper" "$scratch/work"
    mount -t overlay overlay \
        -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" "$root"
    # Mountpoints that the image may lack.
    mkdir -p "$root"/{proc,sys,dev,run,tmp,srv}
    mount -t proc proc "$root/proc"
    mount --bind "$root/proc/sys" "$root/proc/sys"
    mount -o remount,bind,ro "$root/proc/sys"
    mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
    mount -t tmpfs -o mode=755 tmpfs "$root/run"
    mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
    # A plain file system for the sites, as on a real host, not an overlay.
    mount -t tmpfs -o mode=755 tmpfs "$root/srv"
    devices "$root/dev"
    settings "$root" "$name"
    [[ ${1-} == bare ]] || units "$root" "$@"
    touch "$root/usr/local/bin/trueup"
    mount --bind "$trueup" "$root/usr/local/bin/trueup"

    hostname "$name"
    ip link set lo up
    mkdir -p "$root/run/host-test/old"
    cd "$root"
    pivot_root . run/host-test/old
    cd /
    umount -l /run/host-test/old
    rmdir /run/host-test/old
    if [[ ${1-} == bare ]]; then
        # The first process reaps whatever others leave behind: bash does.
        exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            bash -c 'while :; do sleep 3600 & wait; done' </dev/null >/run/host-test/console.log 2>&1
    fi
    exec env -i container=trueup-test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        /lib/systemd/systemd --system --unit=multi-user.target --show-status=no \
        </dev/null >/run/host-test/console.log 2>&1
}

devices() {
    local dev=$1
    mount -t tmpfs -o mode=755,nosuid tmpfs "$dev"
    mknod -m 666 "$dev/null" c 1 3
    mknod -m 666 "$dev/zero" c 1 5
    mknod -m 666 "$dev/full" c 1 7
    mknod -m 666 "$dev/random" c 1 8
    mknod -m 666 "$dev/urandom" c 1 9
    mknod -m 666 "$dev/tty" c 5 0
    ln -s /proc/self/fd "$dev/fd"
    ln -s /proc/self/fd/0 "$dev/stdin"
    ln -s /proc/self/fd/1 "$dev/stdout"
    ln -s /proc/self/fd/2 "$dev/stderr"
    ln -s pts/ptmx "$dev/ptmx"
    mkdir "$dev/pts" "$dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$dev/pts"
    mount -t tmpfs -o mode=1777 tmpfs "$dev/shm"
}

# Only the units that were asked for start; nothing of the outer machine's own set-up does.
units() {
    local root=$1 unit
    local units=$root/etc/systemd/system
    shift
    rm -rf "$units"/*.wants "$units"/*.requires
    mkdir -p "$units/multi-user.target.wants" "$root/etc/systemd/system-generators"
    for unit in "${masked[@]}"; do ln -sfn /dev/null "$units/$unit"; done
    for unit in "$@"; do
        # Whatever is asked for by name is not masked.
        rm -f "$units/$unit"
        # A .socket or .service; systemd goes by the link's name.
        ln -sfn "/lib/systemd/system/$unit" "$units/multi-user.target.wants/$unit"
    done
    # Generators would start every SysV script, mount the outer fstab, and so on.
    for unit in "$root"/lib/systemd/system-generators/*; do
        ln -sfn /dev/null "$root/etc/systemd/system-generators/${unit##*/}"
    done
}

settings() {
    local root=$1 name=$2
    : >"$root/etc/fstab"
    tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
    echo "$name" >"$root/etc/hostname"
    printf '127.0.0.1 localhost %s\n::1 localhost\n' "$name" >"$root/etc/hosts"
    rm -rf "$root/var/log/journal"
    rm -f "$root"/etc/supervisor/conf.d/*
}

stage=$1
shift
case $stage in
outer)
    scratch=$(mktemp -d "${TMPDIR:-/tmp}/trueup-host.XXXXXX")
    export scratch
    trap 'umount -l "$scratch" 2>/dev/null; rmdir "$scratch"' EXIT
    outer "$@"
    ;;
inner) inner "$@" ;;
esac
