{{/*
What the bridge's chart decides itself: its configuration, its pod, and whom it speaks to.
*/}}

{{- define "zen-bridge.config" -}}
{{- if not .Values.advertise }}
{{- fail (printf "Planes would not find the bridge: set %s=host:7445, an address that they can dial." (include "zen-common.path" (list . "advertise"))) }}
{{- end -}}
state_dir: /var/lib/zen/bridge
listen: '{{ .Values.listenAddress }}:7445'
advertise: {{ .Values.advertise | quote }}
{{ include "zen-common.neighbour" . }}
{{- end }}

{{- define "zen-bridge.ports" -}}
- name: relay
  containerPort: 7445
  protocol: TCP
{{- end }}

{{- define "zen-bridge.env" -}}
{{ include "zen-common.instanceEnv" . }}
{{- end }}

{{- define "zen-bridge.mounts" -}}
- name: state
  mountPath: /var/lib/zen/bridge
{{ include "zen-common.neighbourMounts" . }}
{{- end }}

{{- define "zen-bridge.volumes" -}}
{{ include "zen-common.neighbourVolumes" . }}
{{- end }}

{{- define "zen-bridge.ingress" -}}
{{- with .Values.networkPolicy.planesFrom }}
# Egresses and ingesters of all planes dial in.
- from:
    {{- toYaml . | nindent 4 }}
  ports:
    - port: relay
      protocol: TCP
{{- end }}
{{- end }}

{{- define "zen-bridge.egress" -}}
{{ include "zen-common.toAgent" . }}
{{- end }}
