{{/*
What the egress's chart decides itself: its configuration, its pod, and whom it speaks to.
*/}}

{{- define "zen-egress.caBundle" -}}
{{- if and .Values.caBundle.existingConfigMap .Values.caBundle.existingSecret }}
{{- fail (printf "zen-egress has two bundles of roots: set only one of %s and %s." (include "zen-common.path" (list . "caBundle.existingConfigMap")) (include "zen-common.path" (list . "caBundle.existingSecret"))) }}
{{- end -}}
{{ or .Values.caBundle.existingConfigMap .Values.caBundle.existingSecret }}
{{- end }}

{{- define "zen-egress.config" -}}
state_dir: /var/lib/zen/egress
listen: '{{ .Values.listenAddress }}:7444'
secrets_dir: /etc/zen/secrets
{{- if include "zen-egress.caBundle" . }}
ca_file: /etc/zen/ca/{{ .Values.caBundle.key }}
{{- end }}
{{- with .Values.deniedNetworks }}
denied_networks:
  {{- toYaml . | nindent 2 }}
{{- end }}
lock: {{ include "zen-common.lockAddress" . | default "null" }}
{{ include "zen-common.neighbour" . }}
{{- end }}

{{- define "zen-egress.ports" -}}
- name: handover
  containerPort: 7444
  protocol: TCP
{{- end }}

{{- define "zen-egress.env" -}}
{{ include "zen-common.instanceEnv" . }}
{{- if .Values.denyKubernetesApi.enabled }}
# Kubernetes puts the address in its place; it goes before deniedNetworks, which it repeats.
- name: ZEN_EGRESS__DENIED_NETWORKS
  value: '[{{ prepend .Values.deniedNetworks (printf "$(KUBERNETES_SERVICE_HOST)/%d" (int .Values.denyKubernetesApi.prefixLength)) | join ", " }}]'
{{- end }}
{{- end }}

{{- define "zen-egress.mounts" -}}
- name: state
  mountPath: /var/lib/zen/egress
{{ include "zen-common.neighbourMounts" . }}
{{- if .Values.secrets.existingSecret }}
- name: secrets
  mountPath: /etc/zen/secrets
  readOnly: true
{{- end }}
{{- if include "zen-egress.caBundle" . }}
- name: ca
  mountPath: /etc/zen/ca
  readOnly: true
{{- end }}
{{- end }}

{{- define "zen-egress.volumes" -}}
{{ include "zen-common.neighbourVolumes" . }}
{{- with .Values.secrets.existingSecret }}
- name: secrets
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.caBundle.existingConfigMap }}
- name: ca
  configMap:
    name: {{ . }}
{{- end }}
{{- with .Values.caBundle.existingSecret }}
- name: ca
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end }}

{{- define "zen-egress.ingress" -}}
# The ingesters of this plane.
- from:
    {{- include "zen-common.planePods" (list "ingester") | nindent 4 }}
  ports:
    - port: handover
      protocol: TCP
{{- end }}

{{- define "zen-egress.egress" -}}
{{ include "zen-common.toAgent" . }}
{{- include "zen-common.toLock" . }}
# Bridges, for flows from other planes.
{{ include "zen-common.anywhere" (list .Values.networkPolicy.bridgeCidrs .Values.networkPolicy.bridgePorts) }}
# Targets. Link-local addresses hold the cloud's metadata; the egress refuses them by itself too.
- to:
    {{- if .Values.networkPolicy.targetsTo }}
    {{- toYaml .Values.networkPolicy.targetsTo | nindent 4 }}
    {{- else }}
    - ipBlock:
        cidr: 0.0.0.0/0
        except: [169.254.0.0/16]
    - ipBlock:
        cidr: "::/0"
        except: ["fe80::/10"]
    - namespaceSelector: {}
    {{- end }}
  {{- with .Values.networkPolicy.targetPorts }}
  ports:
    {{- range . }}
    - port: {{ . }}
      protocol: TCP
    {{- end }}
  {{- end }}
{{- end }}
