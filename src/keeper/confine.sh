#!/bin/sh
# Shuts one of the server's own processes in. Runs as root in a mount namespace of its own (`unshare --mount`), builds a root
# that has the system's programs, the application and one data directory in it and nothing else, and becomes
# `node ARGUMENTS…` there as an unprivileged user. Descriptors 3 and up are passed on.
# Usage: confine.sh UID EMPTY-DIR APP DATA-OR-EMPTY NODE-ARGUMENT…
set -eu
uid=$1 root=$2 app=$3 data=$4
shift 4

# bind SOURCE TARGET OPTIONS: flags take effect only in a second step.
bind() {
  mount --bind "$1" "$2"
  mount -o "remount,bind,nosuid,nodev,$3" "$2"
}

mount -t tmpfs -o mode=755,size=1m,nosuid,nodev hostel "$root"
cd "$root"
mkdir usr etc proc dev tmp run run/hostel run/hostel/app run/hostel/data old
for dir in bin sbin lib lib32 lib64; do
  if [ -L "/$dir" ]; then
    cp -P "/$dir" "$dir"
  elif [ -d "/$dir" ]; then
    mkdir "$dir"
    bind "/$dir" "$dir" ro
  fi
done
bind /usr usr ro
bind /etc etc ro
bind "$app" run/hostel/app ro
if [ -n "$data" ]; then bind "$data" run/hostel/data noexec; fi
mount -t tmpfs -o mode=1777,size=256m,nosuid,nodev,noexec hostel tmp
# Only its own processes can be seen in it.
mount -t proc -o nosuid,nodev,noexec,hidepid=2 proc proc
for device in null zero random urandom; do
  : > "dev/$device"
  mount --bind "/dev/$device" "dev/$device"
done

pivot_root . old
cd /run/hostel/app
umount -l /old
rmdir /old
mount -o remount,bind,ro,nosuid,nodev /

PATH=/run/hostel/app/node_modules/.bin:/usr/bin:/bin
export PATH
# A crash must not leave memory on disk: there are secrets in it. 1 rather than 0, so that it is not handed to a program either.
exec prlimit --core=1:1 setpriv --reuid "$uid" --regid "$uid" --clear-groups --no-new-privs \
  --bounding-set=-all --inh-caps=-all --ambient-caps=-all --pdeathsig KILL node "$@"
