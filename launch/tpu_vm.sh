#!/usr/bin/env bash
# A Cloud TPU slice as a queued resource: asks for it, waits, installs this checkout on every worker, runs main.py.
#   PROJECT=my-project ZONE=us-west4-a NAME=spin ACCELERATOR=v5litepod-16 RUNTIME=v2-alpha-tpuv5-lite BUCKET=my-bucket \
#     bash launch/tpu_vm.sh -- --config=configs/dog_trot.py --workdir=/bucket/dog_trot --config.data.dir=/bucket/data
# SPOT=1 asks for preemptible capacity. After a preemption the same command asks for a new slice and resumes.
# The slice costs money until: gcloud compute tpus queued-resources delete $NAME --force --project=… --zone=…
set -euo pipefail
: "${PROJECT:?}" "${ZONE:?}" "${NAME:?}" "${ACCELERATOR:?}" "${RUNTIME:?}" "${BUCKET:?}"
[ "${1:-}" != -- ] || shift
cd "$(dirname "$0")/.."
queued=(gcloud compute tpus queued-resources --project="$PROJECT" --zone="$ZONE" --quiet)
tpu_vm=(gcloud compute tpus tpu-vm --project="$PROJECT" --zone="$ZONE" --quiet)
state() { "${queued[@]}" describe "$NAME" --format='value(state.state)' 2>/dev/null || true; }

case "$(state)" in SUSPENDING | SUSPENDED | FAILED) "${queued[@]}" delete "$NAME" --force ;; esac
[ -n "$(state)" ] || "${queued[@]}" create "$NAME" --node-id="$NAME" ${SPOT:+--spot} \
  --accelerator-type="$ACCELERATOR" --runtime-version="$RUNTIME"
until [ "$(state)" = ACTIVE ]; do
  [ "$(state)" != FAILED ] || { "${queued[@]}" describe "$NAME"; exit 1; }
  sleep 30
done

archive="$(mktemp -d)/spin_jax.tar.gz" # what is committed
git archive --format=tar.gz --output="$archive" HEAD
"${tpu_vm[@]}" scp --worker=all "$archive" "$NAME":
"${tpu_vm[@]}" ssh "$NAME" --worker=all --command="set -e; mkdir -p spin_jax; tar -xzf spin_jax.tar.gz -C spin_jax
  key=/usr/share/keyrings/cloud.google.asc url=https://packages.cloud.google.com/apt
  command -v gcsfuse || { curl -s \$url/doc/apt-key.gpg | sudo tee \$key >/dev/null
    echo deb [signed-by=\$key] \$url gcsfuse-\$(lsb_release -cs) main | sudo tee /etc/apt/sources.list.d/gcsfuse.list
    sudo apt-get update -q && sudo apt-get install -qy gcsfuse; }
  sudo mkdir -p /bucket && sudo chown \$USER /bucket
  mountpoint -q /bucket || gcsfuse --metadata-cache-ttl-secs=0 $BUCKET /bucket
  cd spin_jax && python3 -m pip install -q --user uv && python3 -m uv venv -q --allow-existing --python=3.12 .venv
  python3 -m uv pip install -q --python=.venv/bin/python -e '.[tpu]'
  JAX_COMPILATION_CACHE_DIR=/bucket/compiled exec .venv/bin/python main.py --distributed=auto$(printf ' %q' "$@")"
