{{/* Checks that the schema cannot express: contradictory values. */}}
{{- define "cognito-device-exporter.validate" -}}
{{- $existing := .Values.existingConfig -}}
{{- if and $existing.configMap $existing.secret -}}
{{- fail "existingConfig: expected configMap or secret, found both" -}}
{{- end -}}
{{- if include "cognito-device-exporter.ownConfig" . -}}
{{- if not (or .Values.config.pools .Values.config.discovery) -}}
{{- fail "config.pools: expected at least one user pool, such as `- id: eu-west-1_AbCdEfGhI`; or config.discovery, or existingConfig with your own configuration" -}}
{{- end -}}
{{- include "cognito-device-exporter.validateShards" . -}}
{{- end -}}
{{- if and .Values.webConfig.existingSecret .Values.webConfig.config -}}
{{- fail "webConfig: expected config or existingSecret, found both" -}}
{{- end -}}
{{- if and (or .Values.webConfig.tls .Values.webConfig.clientCertificates) (not (include "cognito-device-exporter.webConfigSecret" .)) -}}
{{- fail "webConfig.tls and webConfig.clientCertificates describe webConfig.existingSecret, which is not set" -}}
{{- end -}}
{{- if and .Values.persistence.existingClaim (gt (int .Values.shards) 1) -}}
{{- fail "persistence.existingClaim: expected none with several shards, each has its own claim" -}}
{{- end -}}
{{- if gt (int .Values.shards) 1 -}}
{{- range .Values.extraArgs -}}
{{- if regexMatch "^--shard([= ]|$)" . -}}
{{- fail (printf "extraArgs: expected no --shard with shards: %v, every pod would read the same users" $.Values.shards) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.podDisruptionBudget -}}
{{- if and .enabled (not (include "cognito-device-exporter.given" .minAvailable)) (not (include "cognito-device-exporter.given" .maxUnavailable)) -}}
{{- fail "podDisruptionBudget: expected minAvailable or maxUnavailable, found neither; without them Kubernetes allows no eviction" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled -}}
{{- fail "serviceMonitor and podMonitor: expected one of them, with both every device is counted twice" -}}
{{- end -}}
{{- end -}}

{{/* The exporter requires this as well: all shards must give a user the same label. */}}
{{- define "cognito-device-exporter.validateShards" -}}
{{- if gt (int .Values.shards) 1 -}}
{{- $root := . -}}
{{- $config := fromYaml (include "cognito-device-exporter.config" .) -}}
{{- $defaults := default dict $config.defaults -}}
{{- range $kind := list "pools" "discovery" -}}
{{- range $index, $pool := index $config $kind -}}
{{- $effective := merge (deepCopy $pool) $defaults -}}
{{- $shown := has $effective.detail (list "user" "device") -}}
{{- if and $shown (ne (default "hmac" $effective.identity) "raw") (not $effective.identity_key_file) -}}
{{- fail (printf "config.%s[%d]: %v shards with identity hmac and detail %s need a key that all shards share: set identityKey.existingSecret to a Secret that holds it" $kind $index $root.Values.shards $effective.detail) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
