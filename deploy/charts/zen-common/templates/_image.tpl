{{/*
Images. A chart's own registry and pull secrets go before the global ones; a digest before the tag.
*/}}

{{- define "zen-common.image" -}}
{{- $image := .Values.image -}}
{{- $global := .Values.global | default dict -}}
{{- $registry := $image.registry | default $global.imageRegistry -}}
{{- $name := $image.repository -}}
{{- if $registry }}{{ $name = printf "%s/%s" (trimSuffix "/" $registry) $name }}{{ end -}}
{{- if $image.digest -}}
{{ $name }}@{{ $image.digest }}
{{- else -}}
{{ $name }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "zen-common.pullSecrets" -}}
{{- $global := .Values.global | default dict -}}
{{- with .Values.imagePullSecrets | default $global.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
