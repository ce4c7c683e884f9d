{{- define "muster.fullname" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else }}{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}{{ end }}{{ end }}
{{- end }}

{{- /* Labels of everything; with a component those that a selector uses are among them. */}}
{{- define "muster.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | quote }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{ include "muster.selector" . }}
{{- end }}

{{- define "muster.selector" -}}
app.kubernetes.io/name: muster
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "muster.image" -}}
{{ printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}

{{- define "muster.secretName" -}}
{{ default (printf "%s-secrets" (include "muster.fullname" .)) .Values.existingSecret }}
{{- end }}

{{- define "muster.brokerTlsSecret" -}}
{{ default (printf "%s-broker-tls" (include "muster.fullname" .)) .Values.broker.tls.existingSecret }}
{{- end }}

{{- define "muster.topicMapName" -}}{{ include "muster.fullname" . }}-topic-map{{- end }}

{{- /* Whether the brokers are ours; empty where they are an operator's. */}}
{{- define "muster.ownBrokers" -}}{{ if not .Values.broker.external }}true{{ end }}{{- end }}

{{- /* NAME=URL of each broker, where services connect. */}}
{{- define "muster.serviceBrokers" -}}
{{- $full := include "muster.fullname" . }}
{{- $list := list }}
{{- if .Values.broker.external }}
{{- range .Values.broker.external }}{{ $list = append $list (printf "%s=%s" .name .url) }}{{ end }}
{{- else }}
{{- range $i := until (int .Values.broker.replicas) }}
{{- $list = append $list (printf "%s-mosquitto-%d=mqtts://%s-mosquitto-%d.%s-mosquitto.%s.svc:8884" $full $i $full $i $full $.Release.Namespace) }}
{{- end }}
{{- end }}
{{- join "," $list }}
{{- end }}

{{- /* NAME=URL of each broker, where devices connect. */}}
{{- define "muster.deviceBrokers" -}}
{{- $full := include "muster.fullname" . }}
{{- $list := list }}
{{- range $i := until (int .Values.broker.replicas) }}
{{- $inside := printf "%s-mosquitto-%d.%s.svc.%s" $full $i $.Release.Namespace $.Values.clusterDomain }}
{{- $host := $inside }}
{{- if lt $i (len $.Values.broker.publicHosts) }}{{ $host = index $.Values.broker.publicHosts $i }}{{ end }}
{{- if contains ":" $host }}{{ $host = printf "[%s]" $host }}{{ end }}
{{- $list = append $list (printf "%s-mosquitto-%d=mqtts://%s:8883" $full $i $host) }}
{{- end }}
{{- join "," $list }}
{{- end }}

{{- define "muster.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "muster.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- /* What all pods have in common; .component for spreading them over nodes. */}}
{{- define "muster.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels: {{- include "muster.selector" . | nindent 14 }}
{{- end }}

{{- /* Where PostgreSQL is, for services. */}}
{{- define "muster.postgresEnvironment" -}}
{{- if .Values.postgres.internal }}
- name: POSTGRES_PASSWORD
  valueFrom: { secretKeyRef: { name: {{ include "muster.secretName" . }}, key: postgres-password } }
- name: MUSTER_POSTGRES_URL
  value: postgresql://muster:$(POSTGRES_PASSWORD)@{{ include "muster.fullname" . }}-postgres:5432/muster
{{- else }}
- name: MUSTER_POSTGRES_URL
  valueFrom: { secretKeyRef: { name: {{ .Values.postgres.external.existingSecret }}, key: url } }
{{- end }}
{{- end }}

{{- /* Where the brokers are, and the account of .service there. */}}
{{- define "muster.brokerEnvironment" -}}
- name: MUSTER_BROKERS
  value: {{ include "muster.serviceBrokers" .root | quote }}
{{- if include "muster.ownBrokers" .root }}
- name: MUSTER_BROKER_USERNAME
  value: muster.{{ .service }}
- name: MUSTER_BROKER_PASSWORD
  valueFrom: { secretKeyRef: { name: {{ include "muster.secretName" .root }}, key: {{ .service }}-password } }
- name: MUSTER_BROKER_CA
  value: /tls/ca.crt
{{- else }}
- name: MUSTER_BROKER_USERNAME
  valueFrom: { secretKeyRef: { name: {{ .root.Values.broker.externalSecret }}, key: username } }
- name: MUSTER_BROKER_PASSWORD
  valueFrom: { secretKeyRef: { name: {{ .root.Values.broker.externalSecret }}, key: password } }
- name: MUSTER_BROKER_CA
  value: /tls/ca.crt
{{- end }}
{{- end }}

{{- /* With it the registry hands requests on to the services behind it. */}}
{{- define "muster.internalToken" -}}
- name: MUSTER_INTERNAL_TOKEN
  valueFrom: { secretKeyRef: { name: {{ include "muster.secretName" . }}, key: internal-token } }
{{- end }}

{{- /* Where rules are at home. */}}
{{- define "muster.automationEnvironment" -}}
- { name: MUSTER_TIME_ZONE, value: {{ .Values.automation.timeZone | quote }} }
{{- with .Values.automation.latitude }}
- { name: MUSTER_LATITUDE, value: {{ . | quote }} }
{{- end }}
{{- with .Values.automation.longitude }}
- { name: MUSTER_LONGITUDE, value: {{ . | quote }} }
{{- end }}
{{- end }}

{{- /* What alerting looks at beside brokers and PostgreSQL, and who is told. */}}
{{- define "muster.alertingEnvironment" -}}
{{ include "muster.retentionEnvironment" . }}
- { name: MUSTER_BROKER_MAX_CONNECTIONS, value: {{ int .Values.broker.limits.maxConnections | quote }} }
{{- $ingestion := printf "%s-ingestion" (include "muster.fullname" .) }}
{{- $urls := list }}
{{- range $i := until (int .Values.ingestion.replicas) }}
{{- $urls = append $urls (printf "http://%s-%d.%s:8080/metrics" $ingestion $i $ingestion) }}
{{- end }}
- { name: MUSTER_INGESTION_METRICS, value: {{ join "," $urls | quote }} }
{{- if .Values.alerting.receivers }}
- { name: MUSTER_ALERTING_RECEIVERS, value: /receivers/receivers.yaml }
{{- end }}
{{- end }}

{{- define "muster.receiversName" -}}{{ include "muster.fullname" . }}-alerting-receivers{{- end }}

{{- define "muster.commonEnvironment" -}}
- name: MUSTER_LOG_LEVEL
  value: {{ .Values.logLevel }}
{{- if .Values.topicMap }}
- name: MUSTER_TOPIC_MAP
  value: /topic-map/topics.yaml
{{- end }}
{{- end }}

{{- /* How long services keep what is over. */}}
{{- define "muster.retentionEnvironment" -}}
- { name: MUSTER_RETENTION_DAYS, value: {{ int .Values.retentionDays | quote }} }
{{- end }}

{{- /* The authority of the brokers, and the topic map. */}}
{{- define "muster.commonMounts" -}}
- { name: tls, mountPath: /tls, readOnly: true }
{{- if .Values.topicMap }}
- { name: topic-map, mountPath: /topic-map, readOnly: true }
{{- end }}
- { name: tmp, mountPath: /tmp }
{{- end }}

{{- define "muster.commonVolumes" -}}
- name: tls
  secret:
    secretName: {{ if include "muster.ownBrokers" . }}{{ include "muster.brokerTlsSecret" . }}{{ else }}{{ .Values.broker.externalSecret }}{{ end }}
    items: [{ key: ca.crt, path: ca.crt }]
{{- if .Values.topicMap }}
- name: topic-map
  configMap: { name: {{ include "muster.topicMapName" . }} }
{{- end }}
- name: tmp
  emptyDir: { sizeLimit: 64Mi }
{{- end }}

{{- /* Liveness asks the process alone, so that no outage elsewhere ever restarts it. */}}
{{- define "muster.probes" -}}
startupProbe:
  httpGet: { path: /healthz, port: http }
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: { path: /healthz, port: http }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: { path: /readyz, port: http }
  periodSeconds: 3
  timeoutSeconds: 5
  failureThreshold: 3
{{- end }}

{{- /* Changes when the configuration does, so that pods start again with the new one. */}}
{{- define "muster.annotations" -}}
checksum/topic-map: {{ .Values.topicMap | sha256sum }}
{{- with .Values.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "muster.influxUrl" -}}
{{ if .Values.influxdb.internal }}http://{{ include "muster.fullname" . }}-influxdb:8086{{ else }}{{ .Values.influxdb.external.url }}{{ end }}
{{- end }}

{{- /* Where InfluxDB is; 1.x takes a password, 2.x and 3.x a token in its place. */}}
{{- define "muster.influxEnvironment" -}}
- { name: MUSTER_INFLUXDB_URL, value: {{ include "muster.influxUrl" . | quote }} }
- { name: MUSTER_INFLUXDB_DATABASE, value: {{ .Values.influxdb.database | quote }} }
{{- if .Values.influxdb.internal }}
- { name: MUSTER_INFLUXDB_USERNAME, value: muster }
- { name: MUSTER_INFLUXDB_PASSWORD, valueFrom: { secretKeyRef: { name: {{ include "muster.secretName" . }}, key: influxdb-token } } }
{{- else }}
- { name: MUSTER_INFLUXDB_USERNAME, valueFrom: { secretKeyRef: { name: {{ .Values.influxdb.external.existingSecret }}, key: username } } }
- { name: MUSTER_INFLUXDB_PASSWORD, valueFrom: { secretKeyRef: { name: {{ .Values.influxdb.external.existingSecret }}, key: password } } }
{{- end }}
{{- end }}

{{- /* Grafana's data sources; passwords come from the environment of its pod. */}}
{{- define "muster.grafanaDataSources" -}}
apiVersion: 1
prune: true
datasources:
  - name: Muster InfluxDB
    uid: muster-influxdb
    type: influxdb
    access: proxy
    url: {{ include "muster.influxUrl" . }}
    user: $MUSTER_INFLUXDB_USERNAME
    jsonData: { dbName: {{ .Values.influxdb.database }}, version: InfluxQL, httpMode: POST }
    secureJsonData: { password: $MUSTER_INFLUXDB_PASSWORD }
    editable: false
  - name: Muster PostgreSQL
    uid: muster-postgres
    type: grafana-postgresql-datasource
    access: proxy
    url: {{ include "muster.fullname" . }}-postgres:5432
    user: muster_grafana
    jsonData: { database: muster, sslmode: disable, postgresVersion: 1500 }
    secureJsonData: { password: $POSTGRES_READER_PASSWORD }
    editable: false
{{- end }}
