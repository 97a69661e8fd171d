#!/usr/bin/env bash
# One workload on a GKE cluster that xpk made (xpk cluster create). Once for each cluster, mount the bucket at /bucket:
#   xpk storage attach bucket --type=gcsfuse --bucket=my-bucket --mount-point=/bucket --readonly=false \
#     --auto-mount=true --size=1 --project=… --zone=… --cluster=…
# Then, with an image of launch/Dockerfile (BACKEND=tpu) in a registry that the cluster reads:
#   PROJECT=my-project ZONE=us-west4-a CLUSTER=my-cluster NAME=spin ACCELERATOR=v5litepod-16 IMAGE=… \
#     bash launch/xpk.sh -- --config=configs/dog_trot.py --workdir=/bucket/dog_trot --config.data.dir=/bucket/data
# xpk writes the JobSet, and main.py runs on each host of the slice. All hosts start again, at most --max-restarts
# times, when a process exits with 75 (preempted and saved) or with 42 or 127 to 255, which are xpk's defaults. Any
# other code ends the workload.
set -euo pipefail
: "${PROJECT:?}" "${ZONE:?}" "${CLUSTER:?}" "${NAME:?}" "${ACCELERATOR:?}" "${IMAGE:?}"
[ "${1:-}" != -- ] || shift
xpk workload create --project="$PROJECT" --zone="$ZONE" --cluster="$CLUSTER" --workload="$NAME" \
  --tpu-type="$ACCELERATOR" --docker-image="$IMAGE" --env=JAX_COMPILATION_CACHE_DIR=/bucket/compiled \
  --max-restarts=100 --restart-on-exit-codes=75 --termination-grace-period-seconds=120 \
  --command="python main.py --distributed=auto$(printf ' %q' "$@")"
