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

{{/* What selects the pods of one part: never changes, since a selector cannot. Takes (list $ "agent"). */}}
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

{{/* Where metrics and health are served. */}}
{{- define "traffictrace.port" -}}9464{{- end -}}

{{/* The port, and what kubelet asks there. A process whose main loop stands still is started anew; one that waits for
the API server is not ready, and is left alone. */}}
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

{{/* What a namespaced service account may do in all namespaces, by a role of the same name. Takes (list $ "agent"). */}}
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
# The chart's own pods ask for the token; another pod that names this account gets none unasked.
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

{{/* Where and beside what a part's pods run. Takes the part's values. */}}
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

{{/* What the agent's container may take: an empty memory limit is what the agent needs with the features that are on. */}}
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
  {{- /* As a part of a URL it has + for a space, which nobody reads back. */}}
  {{- $pairs = append $pairs (printf "%s=%s" $key (urlquery $value | replace "+" "%20")) }}
  {{- end }}
  value: {{ join "," $pairs | quote }}
{{- end }}
{{- end }}
{{- end -}}
