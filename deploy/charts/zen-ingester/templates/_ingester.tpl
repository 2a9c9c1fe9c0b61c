{{/*
What the ingester's chart decides itself: its configuration, its pod, and whom it speaks to.
*/}}

{{- define "zen-ingester.durable" -}}
{{- if ne ((.Values.settings.journal).durability | default "fsync") "fsync" }}
{{- fail (printf "The ingester's journal must be durable, or a 2xx promises nothing: set %s=fsync." (include "zen-common.path" (list . "settings.journal.durability"))) }}
{{- end }}
{{- end }}

{{/* host:port of this plane's egress; empty if there is none. */}}
{{- define "zen-ingester.egressAddress" -}}
{{- $global := .Values.global | default dict -}}
{{- if .Values.egress.address -}}
{{ .Values.egress.address }}
{{- else if ($global.egress).installed -}}
zen-egress.{{ .Release.Namespace }}.svc:7444
{{- end -}}
{{- end }}

{{- define "zen-ingester.publicUrl" -}}
{{- if .Values.publicUrl -}}
{{ .Values.publicUrl }}
{{- else if .Values.ingress.enabled -}}
{{ .Values.ingress.tlsSecret | empty | ternary "http" "https" }}://{{ .Values.ingress.host }}{{ .Values.ingress.path | trimSuffix "/" }}
{{- else -}}
{{ .Values.tls.existingSecret | empty | ternary "http" "https" }}://zen-ingester.{{ .Release.Namespace }}.svc:{{ .Values.service.port }}
{{- end -}}
{{- end }}

{{- define "zen-ingester.config" -}}
{{ include "zen-ingester.durable" . }}
state_dir: /var/lib/zen/ingester
listen: '{{ .Values.listenAddress }}:8080'
public_url: {{ include "zen-ingester.publicUrl" . }}
secrets_dir: /etc/zen/secrets
egress: {{ include "zen-ingester.egressAddress" . | default "null" }}
{{- if .Values.tls.existingSecret }}
tls:
  certificate_file: /etc/zen/tls/tls.crt
  key_file: /etc/zen/tls/tls.key
{{- end }}
lock: {{ include "zen-common.lockAddress" . | default "null" }}
{{ include "zen-common.neighbour" . }}
{{- end }}

{{- define "zen-ingester.ports" -}}
- name: webhooks
  containerPort: 8080
  protocol: TCP
{{- end }}

{{- define "zen-ingester.env" -}}
{{ include "zen-common.instanceEnv" . }}
{{- end }}

{{- define "zen-ingester.mounts" -}}
- name: state
  mountPath: /var/lib/zen/ingester
{{ include "zen-common.neighbourMounts" . }}
{{- if .Values.secrets.existingSecret }}
- name: secrets
  mountPath: /etc/zen/secrets
  readOnly: true
{{- end }}
{{- if .Values.tls.existingSecret }}
- name: tls
  mountPath: /etc/zen/tls
  readOnly: true
{{- end }}
{{- end }}

{{- define "zen-ingester.volumes" -}}
{{ include "zen-common.neighbourVolumes" . }}
{{- with .Values.secrets.existingSecret }}
- name: secrets
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.tls.existingSecret }}
- name: tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end }}

{{- define "zen-ingester.ingress" -}}
{{- with .Values.networkPolicy.webhooksFrom }}
# Sources.
- from:
    {{- toYaml . | nindent 4 }}
  ports:
    - port: webhooks
      protocol: TCP
{{- end }}
{{- end }}

{{- define "zen-ingester.egress" -}}
{{ include "zen-common.toAgent" . }}
{{- include "zen-common.toLock" . }}
{{- with include "zen-ingester.egressAddress" . }}
# The egress of this plane.
- to:
    {{- include "zen-common.planePods" (list "egress") | nindent 4 }}
  ports:
    - port: {{ regexFind "[0-9]+$" . }}
      protocol: TCP
{{- end }}
# Bridges, for flows to other planes.
{{ include "zen-common.anywhere" (list .Values.networkPolicy.bridgeCidrs .Values.networkPolicy.bridgePorts) }}
{{- end }}
