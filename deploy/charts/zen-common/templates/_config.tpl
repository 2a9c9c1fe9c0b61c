{{/*
The configuration file. A chart defines `<chart>.config` with what it decides itself; `settings`
are the operator's, in the words of docs/configuration.md. The binary refuses what it does not know.
*/}}

{{- define "zen-common.config" -}}
{{- $own := include (printf "%s.config" .Chart.Name) . | fromYaml -}}
{{- if hasKey $own "Error" }}{{ fail (printf "%s.config: %s" .Chart.Name $own.Error) }}{{ end -}}
{{- $admin := dict "admin" (dict "listen" (printf "%s:9600" .Values.listenAddress)) -}}
{{- toYaml (mergeOverwrite (deepCopy .Values.settings) $admin $own) -}}
{{- end }}

{{- define "zen-common.configMap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Chart.Name }}-config
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "zen-common.labels" . | nindent 4 }}
data:
  config.yaml: |
    {{- include "zen-common.config" . | nindent 4 }}
{{- end }}

{{/* How a component finds the agent next to it and proves itself the first time. */}}
{{- define "zen-common.neighbour" -}}
agent:
  address: {{ .Values.agent.address | default (printf "zen-agent.%s.svc:7443" .Release.Namespace) }}
  trust_dir: /etc/zen/trust
  token_file: /var/run/secrets/zen/token
{{- end }}

{{/* host:port of this plane's zen-lock; empty if there is none. */}}
{{- define "zen-common.lockAddress" -}}
{{- $global := .Values.global | default dict -}}
{{- if .Values.lock.address -}}
{{ .Values.lock.address }}
{{- else if ($global.lock).installed -}}
zen-lock.{{ .Release.Namespace }}.svc:7446
{{- end -}}
{{- end }}

{{/* To the zen-lock of this plane, or wherever it is told to be. */}}
{{- define "zen-common.toLock" -}}
{{- with include "zen-common.lockAddress" . }}
# zen-lock.
- to:
    {{- include "zen-common.planePods" (list "lock") | nindent 4 }}
  ports:
    - port: 7446
      protocol: TCP
{{- end }}
{{- end }}
