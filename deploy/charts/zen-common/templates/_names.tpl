{{/*
Names and labels. A plane has its namespace to itself, so objects are named after their chart: the
other components and the RBAC of the agent rely on these names.
*/}}

{{/* The component's one word: agent, ingester, control-plane. */}}
{{- define "zen-common.component" -}}
{{- .Chart.Name | trimPrefix "zen-" -}}
{{- end }}

{{/* The prefix of its settings in the environment: ZEN_CONTROL_PLANE. */}}
{{- define "zen-common.envPrefix" -}}
{{- .Chart.Name | upper | replace "-" "_" -}}
{{- end }}

{{/* What never changes over a release's life; selectors use nothing else. */}}
{{- define "zen-common.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ include "zen-common.component" . }}
{{- end }}

{{/* Labels of pods: the selector's, and those that people and network policies look for. */}}
{{- define "zen-common.podLabels" -}}
{{ include "zen-common.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: zen-mesh
app: {{ .Chart.Name }}
{{- with .Values.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels of every other object. */}}
{{- define "zen-common.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "zen-common.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: zen-mesh
app.kubernetes.io/managed-by: {{ .Release.Service }}
app: {{ .Chart.Name }}
{{- end }}

{{- define "zen-common.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default .Chart.Name -}}
{{- end }}

{{/* The path of a value as it is written with `--set`: subcharts have their chart's name before it. */}}
{{- define "zen-common.path" -}}
{{- $root := index . 0 -}}
{{- if not $root.Chart.IsRoot }}{{ $root.Chart.Name }}.{{ end }}{{ index . 1 }}
{{- end }}
