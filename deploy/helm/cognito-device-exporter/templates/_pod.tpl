{{/* Pod template of the Deployment and the StatefulSet. */}}
{{- define "cognito-device-exporter.pod" -}}
{{- include "cognito-device-exporter.validate" . -}}
metadata:
  labels:
    {{- /* Without the chart version, which must not trigger a rollout by itself. */}}
    {{- omit (fromYaml (include "cognito-device-exporter.labelsWith" (list . .Values.podLabels))) "helm.sh/chart" | toYaml | nindent 4 }}
  annotations:
    {{- include "cognito-device-exporter.podAnnotations" . | nindent 4 }}
spec:
  serviceAccountName: {{ include "cognito-device-exporter.serviceAccountName" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  containers:
    - name: exporter
      image: {{ include "cognito-device-exporter.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        {{- include "cognito-device-exporter.args" . | nindent 8 }}
      {{- with .Values.extraEnv }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: http-metrics
          containerPort: 10617
        {{- if include "cognito-device-exporter.probeListener" . }}
        - name: probes
          containerPort: {{ .Values.probeListener.port }}
        {{- end }}
      livenessProbe:
        {{- include "cognito-device-exporter.probe" (list . "/-/healthy") | nindent 8 }}
        {{- with .Values.livenessProbe }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      readinessProbe:
        {{- include "cognito-device-exporter.probe" (list . "/-/ready") | nindent 8 }}
        {{- with .Values.readinessProbe }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      volumeMounts:
        {{- include "cognito-device-exporter.mounts" . | nindent 8 }}
  volumes:
    {{- include "cognito-device-exporter.volumes" . | nindent 4 }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- $selector := dict "labelSelector" (dict "matchLabels" (fromYaml (include "cognito-device-exporter.selectorLabels" .))) }}
    {{- range .Values.topologySpreadConstraints }}
    - {{ ternary . (merge (deepCopy .) $selector) (hasKey . "labelSelector") | toYaml | nindent 6 | trim }}
    {{- end }}
  {{- end }}
{{- end -}}

{{/* Pod annotations. `podAnnotations` takes precedence. */}}
{{- define "cognito-device-exporter.podAnnotations" -}}
{{- $own := dict "kubectl.kubernetes.io/default-container" "exporter" -}}
{{- if .Values.rolloutOnConfigChange -}}
{{- if include "cognito-device-exporter.ownConfig" . -}}
{{- $_ := set $own "checksum/config" (include "cognito-device-exporter.config" . | sha256sum) -}}
{{- end -}}
{{- with .Values.webConfig.config -}}
{{- $_ := set $own "checksum/web-config" (toYaml . | sha256sum) -}}
{{- end -}}
{{- end -}}
{{- /* `merge` would take an empty one for none. */ -}}
{{- range $key, $value := .Values.podAnnotations -}}
{{- $_ := set $own $key $value -}}
{{- end -}}
{{- toYaml $own -}}
{{- end -}}

{{- define "cognito-device-exporter.args" -}}
- --config.file=/etc/cognito-device-exporter/config.yaml
- --config.auto-reload-interval={{ .Values.autoReloadInterval }}
- --web.listen-address=:10617
- --web.telemetry-path={{ .Values.telemetryPath }}
{{- if include "cognito-device-exporter.webConfigSecret" . }}
- --web.config.file=/etc/cognito-device-exporter-web/web-config.yaml
{{- end }}
{{- if include "cognito-device-exporter.probeListener" . }}
- --web.probe-listen-address=:{{ .Values.probeListener.port }}
{{- end }}
{{- if .Values.enableLifecycle }}
- --web.enable-lifecycle
{{- end }}
- --log.level={{ .Values.log.level }}
- --log.format={{ .Values.log.format }}
{{- if gt (int .Values.shards) 1 }}
- --shard=auto/{{ .Values.shards }}
{{- end }}
{{- with .Values.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "cognito-device-exporter.mounts" -}}
- name: config
  mountPath: /etc/cognito-device-exporter
  readOnly: true
- name: state
  mountPath: /var/lib/cognito-device-exporter
- name: tmp
  mountPath: /tmp
{{- if .Values.identityKey.existingSecret }}
- name: identity
  mountPath: {{ dir (include "cognito-device-exporter.identityKeyFile" .) }}
  readOnly: true
{{- end }}
{{- if include "cognito-device-exporter.webConfigSecret" . }}
- name: web
  mountPath: /etc/cognito-device-exporter-web
  readOnly: true
{{- end }}
{{- if .Values.webConfig.certificatesSecret }}
- name: tls
  mountPath: /etc/cognito-device-exporter-tls
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Mount whole directories: a file mounted by `subPath` is never updated. */}}
{{- define "cognito-device-exporter.volumes" -}}
- name: config
  {{- if .Values.existingConfig.secret }}
  secret:
    secretName: {{ .Values.existingConfig.secret }}
    defaultMode: 0440
  {{- else }}
  configMap:
    name: {{ default (include "cognito-device-exporter.fullname" .) .Values.existingConfig.configMap }}
  {{- end }}
    items:
      - key: {{ ternary "config.yaml" .Values.existingConfig.key (ne (include "cognito-device-exporter.ownConfig" .) "") }}
        path: config.yaml
{{- if eq (int .Values.shards) 1 }}
- name: state
  {{- if .Values.persistence.enabled }}
  persistentVolumeClaim:
    claimName: {{ default (include "cognito-device-exporter.fullname" .) .Values.persistence.existingClaim }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ .Values.persistence.emptyDirSizeLimit }}
  {{- end }}
{{- else if not .Values.persistence.enabled }}
- name: state
  emptyDir:
    sizeLimit: {{ .Values.persistence.emptyDirSizeLimit }}
{{- end }}
- name: tmp
  emptyDir:
    sizeLimit: 16Mi
{{- with .Values.identityKey.existingSecret }}
- name: identity
  secret:
    secretName: {{ . }}
    # Owned by root, readable by the group of the pod: the exporter accepts this mode from root only.
    defaultMode: 0440
    items:
      - key: {{ $.Values.identityKey.key }}
        path: {{ base (include "cognito-device-exporter.identityKeyFile" $) }}
{{- end }}
{{- if include "cognito-device-exporter.webConfigSecret" . }}
- name: web
  secret:
    secretName: {{ include "cognito-device-exporter.webConfigSecret" . }}
    defaultMode: 0440
    items:
      - key: {{ ternary .Values.webConfig.key "web-config.yaml" (ne .Values.webConfig.existingSecret "") }}
        path: web-config.yaml
{{- end }}
{{- with .Values.webConfig.certificatesSecret }}
- name: tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Spec of the PersistentVolumeClaim. */}}
{{- define "cognito-device-exporter.claim" -}}
accessModes:
  {{- toYaml .Values.persistence.accessModes | nindent 2 }}
{{- with .Values.persistence.storageClass }}
storageClassName: {{ ternary "" . (eq . "-") | quote }}
{{- end }}
resources:
  requests:
    storage: {{ .Values.persistence.size }}
{{- end -}}
