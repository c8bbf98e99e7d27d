{{/* Names and labels. */}}
{{- define "cognito-device-exporter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 50 characters: StatefulSet pods append an ordinal and a hash, the headless Service a word. */}}
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

{{/* Selector labels. They must not change within a release. */}}
{{- define "cognito-device-exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "cognito-device-exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of the `helm test` pod, and whether the pod exists. */}}
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

{{/* Common labels merged with others, which take precedence except over selector labels. Arguments: root, others. */}}
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

{{/* Metadata of an object that can be in another namespace. Arguments: root, values of the object. */}}
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

{{/* Mount paths. */}}
{{- define "cognito-device-exporter.identityKeyFile" -}}
/etc/cognito-device-exporter-identity/key
{{- end -}}

{{/* Content of the configuration file, with identity_key_file set. */}}
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

{{/* Properties of the web configuration that clients depend on. */}}
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

{{/* httpGet of a probe. Arguments: root, path. */}}
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

{{/* A number or percentage as text, empty for null and "". Numbers in a file are floats: a million would be 1e+06. */}}
{{- define "cognito-device-exporter.given" -}}
{{- if kindIs "float64" . }}{{ int64 . }}{{ else if not (kindIs "invalid" .) }}{{ . }}{{ end -}}
{{- end -}}

{{/* Number of pods for a number or percentage; Kubernetes rounds up. Arguments: number or percentage, total. */}}
{{- define "cognito-device-exporter.podsOf" -}}
{{- $given := index . 0 -}}
{{- if hasSuffix "%" $given -}}
{{- div (add (mul (trimSuffix "%" $given | int) (index . 1)) 99) 100 -}}
{{- else -}}
{{- $given -}}
{{- end -}}
{{- end -}}

{{/* True if the PodDisruptionBudget allows no eviction. */}}
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

{{/* Scrape settings. Arguments: root, values of the ServiceMonitor or PodMonitor. */}}
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
