#!/usr/bin/env bash
# Saves or restores what a release keeps and cannot get again: PostgreSQL, and the sessions and retained messages of
# each broker. Telemetry has tools of its own (influx backup).
#   docs/backup.sh save RELEASE NAMESPACE FOLDER
#   docs/backup.sh restore RELEASE NAMESPACE FOLDER      stops services and brokers meanwhile
set -euo pipefail
[ $# -eq 4 ] || { sed -n '2,5p' "$0" >&2; exit 2; }
verb=$1 release=$2 namespace=$3 folder=$4
full=$release; case $release in *muster*) ;; *) full=$release-muster ;; esac
kube() { kubectl -n "$namespace" "$@"; }
brokers=$(kube get statefulset "$full-mosquitto" -o jsonpath='{.spec.replicas}')
ingestion=$(kube get statefulset "$full-ingestion" -o jsonpath='{.spec.replicas}')

case $verb in
save)
  mkdir -p "$folder"; chmod 700 "$folder"
  kube exec "$full-postgres-0" -- pg_dump -U muster -d muster -Fc >"$folder/postgres.dump.new"
  mv "$folder/postgres.dump.new" "$folder/postgres.dump"
  for ((b = 0; b < brokers; b++)); do
    # SIGUSR1 lets Mosquitto write what it has in memory, to a new file that takes the old one's place when it is whole.
    kube exec "$full-mosquitto-$b" -c mosquitto -- sh -ec '
      db=/mosquitto/data/mosquitto.db
      inode() { ls -i "$db" 2>/dev/null | cut -d" " -f1; }
      before=$(inode) || before=
      kill -USR1 "$(cat /mosquitto/accounts/pid)"
      for i in $(seq 100); do [ "$(inode)" != "$before" ] && break; sleep 0.1; done
      [ "$(inode)" != "$before" ] || { echo "the broker did not save within 10 s" >&2; exit 1; }
      cat "$db"' >"$folder/broker-$b.db.new"
    mv "$folder/broker-$b.db.new" "$folder/broker-$b.db"
  done
  ls -l "$folder"
  ;;
restore)
  for file in postgres.dump $(for ((b = 0; b < brokers; b++)); do echo "broker-$b.db"; done); do
    [ -s "$folder/$file" ] || { echo "$folder/$file is missing or empty" >&2; exit 1; }
  done
  kube scale deployment "$full-registry" "$full-presence" --replicas=0
  kube scale statefulset "$full-ingestion" "$full-mosquitto" --replicas=0
  for component in registry presence ingestion broker; do
    kube wait --for=delete pod -l "app.kubernetes.io/instance=$release,app.kubernetes.io/component=$component" --timeout=120s
  done
  kube exec -i "$full-postgres-0" -- pg_restore -U muster -d muster --clean --if-exists --single-transaction <"$folder/postgres.dump"
  image=$(kube get statefulset "$full-mosquitto" -o jsonpath='{.spec.template.spec.containers[0].image}')
  for ((b = 0; b < brokers; b++)); do
    # A pod of the same user writes the file to the broker's volume while no broker holds it.
    kube delete pod "$full-restore-$b" --ignore-not-found --wait
    kube run "$full-restore-$b" --image="$image" --image-pull-policy=IfNotPresent --restart=Never --overrides="$(cat <<JSON
{"spec":{"securityContext":{"runAsUser":1883,"runAsGroup":1883,"fsGroup":1883},"automountServiceAccountToken":false,
 "containers":[{"name":"restore","image":"$image","imagePullPolicy":"IfNotPresent","command":["sleep","300"],
  "volumeMounts":[{"name":"data","mountPath":"/mosquitto/data","subPath":"data"}]}],
 "volumes":[{"name":"data","persistentVolumeClaim":{"claimName":"data-$full-mosquitto-$b"}}]}}
JSON
)"
    kube wait --for=condition=Ready "pod/$full-restore-$b" --timeout=120s
    kube exec -i "$full-restore-$b" -- sh -ec 'cat >/mosquitto/data/mosquitto.db.new; mv /mosquitto/data/mosquitto.db.new /mosquitto/data/mosquitto.db' <"$folder/broker-$b.db"
    kube delete pod "$full-restore-$b" --wait --grace-period=1
  done
  kube scale statefulset "$full-mosquitto" --replicas="$brokers"
  kube scale statefulset "$full-ingestion" --replicas="$ingestion"
  kube scale deployment "$full-registry" "$full-presence" --replicas=1
  for what in "statefulset/$full-mosquitto" "statefulset/$full-ingestion" "deployment/$full-registry" "deployment/$full-presence"; do
    kube rollout status "$what" --timeout=180s
  done
  ;;
*) sed -n '2,5p' "$0" >&2; exit 2 ;;
esac
