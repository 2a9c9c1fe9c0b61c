{{/*
The place of zen-lock beside the agent. The product does not bring its image yet.
*/}}

{{- define "zen-lock.config" -}}
{{- if not .Values.image.repository }}
{{- fail (printf "zen-lock is enabled and has no image: set %s (this version of the product brings none), or zen-lock.enabled=false." (include "zen-common.path" (list . "image.repository"))) }}
{{- end -}}
{{ include "zen-common.neighbour" . }}
{{- end }}

{{- define "zen-lock.ports" -}}
{{- end }}

{{- define "zen-lock.env" -}}
{{ include "zen-common.instanceEnv" . }}
{{- end }}

{{- define "zen-lock.mounts" -}}
{{ include "zen-common.neighbourMounts" . }}
{{- end }}

{{- define "zen-lock.volumes" -}}
{{ include "zen-common.neighbourVolumes" . }}
{{- end }}

{{- define "zen-lock.ingress" -}}
{{- end }}

{{- define "zen-lock.egress" -}}
{{ include "zen-common.toAgent" . }}
{{- end }}
