{{/* The prefix of every object's name. 50 characters leave room for the longest suffix. */}}
{{- define "traffictrace.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "traffictrace.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels that select the pods of one part. They must never change, since a selector cannot be changed. Takes
(list $ "agent"). */}}
{{- define "traffictrace.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "traffictrace.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* All labels of one part's objects. Takes (list $ "agent"). */}}
{{- define "traffictrace.labels" -}}
{{- $root := index . 0 -}}
{{ include "traffictrace.selectorLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: traffictrace
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The image, by its digest if one is given: a tag can be moved to another image, a digest cannot. */}}
{{- define "traffictrace.image" -}}
{{- with .Values.image.digest -}}
{{- printf "%s@%s" $.Values.image.repository . -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Port of the metrics and the health checks. */}}
{{- define "traffictrace.port" -}}9464{{- end -}}

{{/* The port, and kubelet's checks on it. Kubelet restarts a process whose main loop has stopped; one that waits for the
API server is not ready, and is not restarted. */}}
{{- define "traffictrace.probes" -}}
ports:
  - name: metrics
    containerPort: {{ include "traffictrace.port" . }}
livenessProbe:
  httpGet:
    path: /healthz
    port: metrics
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet:
    path: /readyz
    port: metrics
  periodSeconds: 5
  timeoutSeconds: 5
{{- end -}}

{{/* User name of a part's service account. Takes (list $ "agent"). */}}
{{- define "traffictrace.user" -}}
{{- $root := index . 0 -}}
{{- printf "system:serviceaccount:%s:%s-%s" $root.Release.Namespace (include "traffictrace.fullname" $root) (index . 1) -}}
{{- end -}}

{{/* Service account of a part, bound to the ClusterRole of the same name. Takes (list $ "agent"). */}}
{{- define "traffictrace.binding" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
{{- $name := printf "%s-%s" (include "traffictrace.fullname" $root) $part -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "traffictrace.labels" . | nindent 4 }}
  {{- with (index $root.Values $part).serviceAccountAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
# The chart's own pods request the token; another pod that uses this account does not get it by default.
automountServiceAccountToken: false
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ $name }}
  labels:
    {{- include "traffictrace.labels" . | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ $name }}
subjects:
  - kind: ServiceAccount
    name: {{ $name }}
    namespace: {{ $root.Release.Namespace }}
{{- end -}}

{{/* Scheduling of a part's pods: priority class, node selector, affinity and tolerations. Takes the part's values. */}}
{{- define "traffictrace.placement" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Resources of the agent's container. An empty memory limit becomes the limit that the enabled features need. */}}
{{- define "traffictrace.agentResources" -}}
{{- $resources := deepCopy (.Values.agent.resources | default dict) -}}
{{- $limits := $resources.limits | default dict -}}
{{- if and (hasKey $limits "memory") (eq (toString $limits.memory) "") -}}
{{- $_ := set $limits "memory" (ternary "512Mi" "256Mi" .Values.agent.stacks) -}}
{{- end -}}
{{- with $resources -}}
{{- toYaml . -}}
{{- end -}}
{{- end }}

{{/* The arguments of the controller for the export. Nothing without an endpoint. Takes the values of `otlp`, of which any
may be missing: `helm upgrade --reuse-values` does not add those that the release's former chart did not have. */}}
{{- define "traffictrace.otlpArguments" -}}
{{- if .endpoint }}
- --otlp-max-series={{ int (default 20000 .maxSeries) }}
- --otlp-max-series-of-trace={{ int (default 1000 .maxSeriesOfTrace) }}
- --otlp-processes={{ ne (toString .processes) "false" }}
{{- end }}
{{- end -}}

{{/* The environment variables of OpenTelemetry, from the same values. */}}
{{- define "traffictrace.otlpEnvironment" -}}
{{- if .endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .endpoint | quote }}
- name: OTEL_EXPORTER_OTLP_PROTOCOL
  value: {{ .protocol | default "http/protobuf" | quote }}
- name: OTEL_EXPORTER_OTLP_COMPRESSION
  value: {{ .compression | default "gzip" | quote }}
- name: OTEL_EXPORTER_OTLP_TIMEOUT
  value: {{ mul 1000 (default 10 .timeoutSeconds) | quote }}
- name: OTEL_METRIC_EXPORT_INTERVAL
  value: {{ mul 1000 (default 60 .intervalSeconds) | quote }}
{{- with .headersFrom }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef:
      name: {{ .name | quote }}
      key: {{ .key | quote }}
{{- end }}
{{- if .certificateFrom }}
- name: OTEL_EXPORTER_OTLP_CERTIFICATE
  value: /etc/traffictrace/otlp/ca.pem
{{- end }}
{{- with .resourceAttributes }}
- name: OTEL_RESOURCE_ATTRIBUTES
  {{- $pairs := list }}
  {{- range $key, $value := . }}
  {{- /* urlquery writes + for a space, which readers of this list do not decode. */}}
  {{- $pairs = append $pairs (printf "%s=%s" $key (urlquery $value | replace "+" "%20")) }}
  {{- end }}
  value: {{ join "," $pairs | quote }}
{{- end }}
{{- end }}
{{- end -}}
