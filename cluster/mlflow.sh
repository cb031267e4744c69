#!/bin/bash
# Start PostgreSQL and the MLflow server on the head, unless they run. Both are reached from the head alone: PostgreSQL
# on a Unix socket, MLflow on the loopback. Their files are below $1 (/mnt/lstcl), so that they outlive the cluster.
set -euo pipefail
shared=${1:-/mnt/lstcl}
environment=${2:-$HOME/lstcl}
data=$shared/postgresql
sockets=${XDG_RUNTIME_DIR:-/tmp}/lstcl-postgresql
port=${MLFLOW_PORT:-5000}

if ! ls -d /usr/lib/postgresql/*/bin >/dev/null 2>&1; then
  # Not the Debian cluster that the package would start on its own.
  sudo mkdir -p /etc/postgresql-common
  echo 'create_main_cluster = false' | sudo tee /etc/postgresql-common/createcluster.conf >/dev/null
  sudo apt-get update -qq && sudo apt-get install -qq -y postgresql >/dev/null
fi
programs=$(find /usr/lib/postgresql -maxdepth 2 -name bin | sort -V | tail -1)
mkdir -p "$sockets" && chmod 700 "$sockets"

if [[ ! -f $data/PG_VERSION ]]; then
  mkdir -p "$data" && chmod 700 "$data"
  "$programs/initdb" --auth=peer --encoding=UTF8 --locale=C --pgdata="$data" >/dev/null
fi
if ! "$programs/pg_isready" --quiet --host="$sockets"; then
  # A head that is gone leaves its process number behind; there is never more than one head.
  rm -f "$data/postmaster.pid"
  "$programs/pg_ctl" --pgdata="$data" --log="$data/server.log" --wait \
    --options="-c listen_addresses='' -c unix_socket_directories='$sockets'" start >/dev/null
fi
"$programs/psql" --host="$sockets" --dbname=postgres --tuples-only --no-align \
  --command="SELECT 1 FROM pg_database WHERE datname = 'mlflow'" | grep -q 1 ||
  "$programs/createdb" --host="$sockets" mlflow

if ! curl --silent --fail "http://127.0.0.1:$port/health" >/dev/null; then
  mkdir -p "$shared/artifacts"
  # Its job runner is for evaluations on the server, ten processes that nothing here asks for.
  MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false nohup setsid "$environment/bin/mlflow" server --host 127.0.0.1 --port "$port" \
    --backend-store-uri "postgresql+psycopg:///mlflow?host=$sockets" \
    --serve-artifacts --artifacts-destination "$shared/artifacts" >"$shared/mlflow.log" 2>&1 </dev/null &
  for _ in $(seq 120); do
    curl --silent --fail "http://127.0.0.1:$port/health" >/dev/null && exit 0
    sleep 1
  done
  echo "the MLflow server did not come up; see $shared/mlflow.log" >&2
  exit 1
fi
