#!/bin/bash
# Mount the shared folder $1 (SERVER:/EXPORT) at /mnt/lstcl: checkpoints, artifacts, videos, and PostgreSQL's files.
# `hard` makes a server that is away a wait, not an error: nothing is lost, and PostgreSQL demands it.
set -euo pipefail
mountpoint -q /mnt/lstcl && exit 0
command -v mount.nfs >/dev/null || { sudo apt-get update -qq && sudo apt-get install -qq -y nfs-common >/dev/null; }
sudo mkdir -p /mnt/lstcl
sudo mount -t nfs -o nfsvers="${2:-4.1}",hard,timeo=600,retrans=2,noresvport "$1" /mnt/lstcl
sudo chown "$(id -u):$(id -g)" /mnt/lstcl
