#!/bin/sh
# install.sh ROOT [LIBDCMI]: put a simulated Ascend driver with eight NPUs into the root tree ROOT; LIBDCMI is what was
# compiled from libdcmi.c, for those who load it.
# Device nodes are not made here: /dev is empty at every boot, and npu-sim.service fills it.
set -eu

[ $# -ge 1 ] || { echo "usage: $0 ROOT [LIBDCMI]" >&2; exit 2; }
root=${1%/}
library=${2:-}
here=$(cd "$(dirname "$0")" && pwd)

install -D -m 0755 "$here/npu-sim" "$root/usr/local/sbin/npu-sim"
install -D -m 0555 "$here/npu-smi" "$root/usr/local/lib/npu-sim/npu-smi"
install -D -m 0555 "$here/hccn_tool" "$root/usr/local/lib/npu-sim/hccn_tool"
[ -z "$library" ] || install -D -m 0444 "$library" "$root/usr/local/lib/npu-sim/libdcmi.so"
install -D -m 0644 "$here/npu-sim.service" "$root/etc/systemd/system/npu-sim.service"
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -sfn ../npu-sim.service "$root/etc/systemd/system/multi-user.target.wants/npu-sim.service"

NPU_SIM_ROOT=$root python3 "$root/usr/local/sbin/npu-sim" install
