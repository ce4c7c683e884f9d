#!/usr/bin/env bash
# Saves or restores what a release keeps and cannot get again: PostgreSQL, the sessions and retained messages of each
# broker, and the secrets. Telemetry has tools of its own (influx backup).
#   docs/backup.sh save RELEASE NAMESPACE FOLDER
#   docs/backup.sh restore RELEASE NAMESPACE FOLDER      stops services and brokers meanwhile; the secrets are for you to apply
set -euo pipefail
[ $# -eq 4 ] || { sed -n '2,5p' "$0" >&2; exit 2; }
verb=$1 release=$2 namespace=$3 folder=$4
full=$release; case $release in *muster*) ;; *) full=$release-muster ;; esac
kube() { kubectl -n "$namespace" "$@"; }

save() {
  local brokers b
  brokers=$(kube get statefulset "$full-mosquitto" -o jsonpath='{.spec.replicas}')
  umask 077; mkdir -p "$folder"
  kube get secret -l "app.kubernetes.io/instance=$release,app.kubernetes.io/name=muster" -o yaml >"$folder/secrets.yaml"
  kube get statefulset "$full-ingestion" -o jsonpath='{.spec.replicas}' >"$folder/ingestion"
  kube exec "$full-postgres-0" -- pg_dump -U muster -d muster -Fc --no-acl >"$folder/postgres.dump.new"
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
}

# Also after a step that failed: nothing stays scaled to 0.
start_again() {
  kube scale statefulset "$full-mosquitto" --replicas="$brokers"
  kube scale statefulset "$full-ingestion" --replicas="$(cat "$folder/ingestion")"
  kube scale deployment "$full-registry" "$full-presence" "$full-automation" "$full-alerting" --replicas=1
}

restore() {
  local b component image what
  brokers=$(find "$folder" -name 'broker-*.db' | wc -l)
  for what in postgres.dump ingestion broker-0.db; do
    [ -s "$folder/$what" ] || { echo "$folder/$what is missing or empty" >&2; exit 1; }
  done
  trap start_again EXIT
  kube scale deployment "$full-registry" "$full-presence" "$full-automation" "$full-alerting" --replicas=0
  kube scale statefulset "$full-ingestion" "$full-mosquitto" --replicas=0
  for component in registry presence automation alerting ingestion broker; do
    kube wait --for=delete pod -l "app.kubernetes.io/instance=$release,app.kubernetes.io/component=$component" --timeout=120s
  done
  # All of it goes first: what a newer version added would be left, and migrations would find it in their way.
  { echo 'BEGIN; DROP SCHEMA IF EXISTS grafana CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public;'
    kube exec -i "$full-postgres-0" -- sh -c 'pg_restore -f - --no-acl --no-owner' <"$folder/postgres.dump" | grep -v '^CREATE SCHEMA public;'
    echo 'COMMIT;'
  } | kube exec -i "$full-postgres-0" -- psql -q -v ON_ERROR_STOP=1 -U muster -d muster >/dev/null
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
  trap - EXIT
  start_again
  for what in "statefulset/$full-mosquitto" "statefulset/$full-ingestion" "deployment/$full-registry" "deployment/$full-presence"; do
    kube rollout status "$what" --timeout=180s
  done
}

case $verb in
save) save ;;
restore) restore ;;
*) sed -n '2,5p' "$0" >&2; exit 2 ;;
esac
