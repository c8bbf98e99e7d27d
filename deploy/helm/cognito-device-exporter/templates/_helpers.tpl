{{/* Names and labels. */}}
{{- define "cognito-device-exporter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* 50 characters: a StatefulSet's pods get an ordinal and a hash behind it, the headless Service a word. */}}
{{- define "cognito-device-exporter.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "cognito-device-exporter.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{/* Never changes within a release: selectors cannot. */}}
{{- define "cognito-device-exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "cognito-device-exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Of the pod of `helm test`, and whether there is one. */}}
{{- define "cognito-device-exporter.testLabels" -}}
app.kubernetes.io/name: {{ include "cognito-device-exporter.name" . }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "cognito-device-exporter.testPod" -}}
{{- if and .Values.testConnection (not (include "cognito-device-exporter.tls" .)) }}true{{ end -}}
{{- end -}}

{{- define "cognito-device-exporter.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "cognito-device-exporter.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The labels with others, which win but over those that selectors go by: a list of the root and them. */}}
{{- define "cognito-device-exporter.labelsWith" -}}
{{- $labels := fromYaml (include "cognito-device-exporter.labels" (index . 0)) -}}
{{- $selected := fromYaml (include "cognito-device-exporter.selectorLabels" (index . 0)) -}}
{{- toYaml (merge $selected (default dict (index . 1)) $labels) -}}
{{- end -}}

{{- define "cognito-device-exporter.serviceAccountName" -}}
{{- default (ternary (include "cognito-device-exporter.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "cognito-device-exporter.image" -}}
{{- $version := ternary (printf "@%s" .Values.image.digest) (printf ":%s" (default .Chart.AppVersion .Values.image.tag)) (ne .Values.image.digest "") -}}
{{- with .Values.image.registry }}{{ . }}/{{ end }}{{ .Values.image.repository }}{{ $version }}
{{- end -}}

{{/* Metadata of an object that may stand in another namespace: a list of the root and its part of the values. */}}
{{- define "cognito-device-exporter.metadata" -}}
{{- $root := index . 0 -}}
{{- $own := index . 1 -}}
namespace: {{ default (include "cognito-device-exporter.namespace" $root) $own.namespace }}
labels:
  {{- include "cognito-device-exporter.labelsWith" (list $root $own.labels) | nindent 2 }}
{{- with $own.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Where things are mounted. */}}
{{- define "cognito-device-exporter.identityKeyFile" -}}
/etc/cognito-device-exporter-identity/key
{{- end -}}

{{/* The configuration as it stands in the ConfigMap, with the key of the identity named. */}}
{{- define "cognito-device-exporter.config" -}}
{{- $config := dict -}}
{{- range $key, $value := .Values.config -}}
{{- if $value -}}
{{- $_ := set $config $key (deepCopy $value) -}}
{{- end -}}
{{- end -}}
{{- if .Values.identityKey.existingSecret -}}
{{- $defaults := merge (default dict $config.defaults) (dict "identity_key_file" (include "cognito-device-exporter.identityKeyFile" .)) -}}
{{- $_ := set $config "defaults" $defaults -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- define "cognito-device-exporter.ownConfig" -}}
{{- if not (or .Values.existingConfig.configMap .Values.existingConfig.secret) }}true{{ end -}}
{{- end -}}

{{/* What the web configuration means for those who ask. */}}
{{- define "cognito-device-exporter.webConfigSecret" -}}
{{- if .Values.webConfig.existingSecret -}}
{{- .Values.webConfig.existingSecret -}}
{{- else if .Values.webConfig.config -}}
{{- include "cognito-device-exporter.fullname" . }}-web
{{- end -}}
{{- end -}}

{{- define "cognito-device-exporter.tls" -}}
{{- if or .Values.webConfig.tls .Values.webConfig.clientCertificates .Values.webConfig.config.tls_server_config }}true{{ end -}}
{{- end -}}

{{- define "cognito-device-exporter.clientCertificates" -}}
{{- $server := default dict .Values.webConfig.config.tls_server_config -}}
{{- if or .Values.webConfig.clientCertificates (has $server.client_auth_type (list "RequireAnyClientCert" "RequireAndVerifyClientCert")) }}true{{ end -}}
{{- end -}}

{{- define "cognito-device-exporter.probeListener" -}}
{{- if eq (toString .Values.probeListener.enabled) "auto" -}}
{{- include "cognito-device-exporter.clientCertificates" . -}}
{{- else if .Values.probeListener.enabled -}}
true
{{- end -}}
{{- end -}}

{{/* An httpGet of a probe: a list of the root and the path. */}}
{{- define "cognito-device-exporter.probe" -}}
{{- $root := index . 0 -}}
httpGet:
  path: {{ index . 1 }}
  {{- if include "cognito-device-exporter.probeListener" $root }}
  port: probes
  {{- else }}
  port: http-metrics
  {{- if include "cognito-device-exporter.tls" $root }}
  scheme: HTTPS
  {{- end }}
  {{- end }}
{{- end -}}

{{/* A number or share as text: 0 is one, null and "" are none. A file's numbers are floats: a million would be 1e+06. */}}
{{- define "cognito-device-exporter.given" -}}
{{- if kindIs "float64" . }}{{ int64 . }}{{ else if not (kindIs "invalid" .) }}{{ . }}{{ end -}}
{{- end -}}

{{/* So many of the pods: a list of a number or share as text, and of their number. Kubernetes rounds up. */}}
{{- define "cognito-device-exporter.podsOf" -}}
{{- $given := index . 0 -}}
{{- if hasSuffix "%" $given -}}
{{- div (add (mul (trimSuffix "%" $given | int) (index . 1)) 99) 100 -}}
{{- else -}}
{{- $given -}}
{{- end -}}
{{- end -}}

{{/* Whether the PodDisruptionBudget lets no pod go. */}}
{{- define "cognito-device-exporter.holdsEveryPod" -}}
{{- $shards := int .Values.shards -}}
{{- with .Values.podDisruptionBudget -}}
{{- $stay := include "cognito-device-exporter.given" .minAvailable -}}
{{- if $stay -}}
{{- if ge (include "cognito-device-exporter.podsOf" (list $stay $shards) | int) $shards }}true{{ end -}}
{{- else -}}
{{- if eq (include "cognito-device-exporter.podsOf" (list (include "cognito-device-exporter.given" .maxUnavailable) $shards)) "0" }}true{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* How Prometheus scrapes: a list of the root and the values of a ServiceMonitor or PodMonitor. */}}
{{- define "cognito-device-exporter.endpoint" -}}
{{- $root := index . 0 -}}
{{- $monitor := index . 1 -}}
port: http-metrics
path: {{ $root.Values.telemetryPath }}
scheme: {{ ternary "https" "http" (ne (include "cognito-device-exporter.tls" $root) "") }}
{{- with $monitor.interval }}
interval: {{ . }}
{{- end }}
{{- with $monitor.scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- range $field := list "tlsConfig" "basicAuth" "relabelings" "metricRelabelings" }}
{{- with index $monitor $field }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}
