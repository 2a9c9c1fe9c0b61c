{{/*
What the control plane's chart decides itself: its configuration, its pod, and whom it speaks to.
*/}}

{{- define "zen-control-plane.holds" -}}
{{- if not .Values.agents.advertise }}
{{- fail "Bundles would tell agents no address: set agents.advertise=host:8443, an address that planes can dial." }}
{{- end }}
{{- if and (gt (int .Values.replicas) 1) (not .Values.database.existingSecret) }}
{{- fail "Several control planes cannot share SQLite: set database.existingSecret to a Secret with the URL of a PostgreSQL database, or replicas=1." }}
{{- end }}
{{- if and .Values.database.existingSecret (not .Values.rootIdentity.existingSecret) }}
{{- fail "Every control plane on one PostgreSQL database must open the same root key: set rootIdentity.existingSecret to a Secret with an age identity (`age-keygen` makes one)." }}
{{- end }}
{{- if and .Values.oidc.enabled (not (and .Values.oidc.issuer .Values.oidc.clientId .Values.oidc.existingSecret)) }}
{{- fail "The OpenID provider is not whole: set oidc.issuer, oidc.clientId and oidc.existingSecret, or oidc.enabled=false." }}
{{- end }}
{{- end }}

{{- define "zen-control-plane.config" -}}
{{ include "zen-control-plane.holds" . }}
state_dir: /var/lib/zen/control-plane
{{- if .Values.database.existingSecret }}
database:
  url_file: /etc/zen/database/{{ .Values.database.key }}
{{- end }}
{{- if .Values.rootIdentity.existingSecret }}
root_identity_file: /etc/zen/root-identity/{{ .Values.rootIdentity.key }}
{{- end }}
http:
  listen: '{{ .Values.listenAddress }}:8080'
  {{- with .Values.http.url }}
  url: {{ . | quote }}
  {{- end }}
agents:
  listen: '{{ .Values.listenAddress }}:8443'
  advertise: {{ .Values.agents.advertise | quote }}
{{- with .Values.oidc }}
{{- if .enabled }}
oidc:
  issuer: {{ .issuer | quote }}
  client_id: {{ .clientId | quote }}
  client_secret_file: /etc/zen/oidc/{{ .key }}
  name: {{ .name | quote }}
  allowed_domains: {{ toJson .allowedDomains }}
  default_role: {{ .defaultRole }}
{{- end }}
{{- end }}
{{- end }}

{{- define "zen-control-plane.ports" -}}
- name: http
  containerPort: 8080
  protocol: TCP
- name: agents
  containerPort: 8443
  protocol: TCP
{{- end }}

{{- define "zen-control-plane.env" -}}
{{- end }}

{{/* Secrets that are mounted as files: name of the volume and of the Secret. */}}
{{- define "zen-control-plane.secrets" -}}
{{- with .Values.database.existingSecret }}
database: {{ . }}
{{- end }}
{{- with .Values.rootIdentity.existingSecret }}
root-identity: {{ . }}
{{- end }}
{{- if .Values.oidc.enabled }}
oidc: {{ .Values.oidc.existingSecret }}
{{- end }}
{{- end }}

{{- define "zen-control-plane.mounts" -}}
- name: state
  mountPath: /var/lib/zen/control-plane
- name: tmp
  mountPath: /tmp
{{- range $name, $_ := include "zen-control-plane.secrets" . | fromYaml }}
- name: {{ $name }}
  mountPath: /etc/zen/{{ $name }}
  readOnly: true
{{- end }}
{{- if .Values.databaseCa.existingConfigMap }}
- name: database-ca
  mountPath: /etc/zen/database-ca
  readOnly: true
{{- end }}
{{- end }}

{{- define "zen-control-plane.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 1Gi
{{- range $name, $secret := include "zen-control-plane.secrets" . | fromYaml }}
- name: {{ $name }}
  secret:
    secretName: {{ $secret }}
    defaultMode: 0440
{{- end }}
{{- with .Values.databaseCa.existingConfigMap }}
- name: database-ca
  configMap:
    name: {{ . }}
{{- end }}
{{- end }}

{{- define "zen-control-plane.ingress" -}}
{{- with .Values.networkPolicy.peopleFrom }}
# Dashboard and API.
- from:
    {{- toYaml . | nindent 4 }}
  ports:
    - port: http
      protocol: TCP
{{- end }}
{{- with .Values.networkPolicy.agentsFrom }}
# Agents.
- from:
    {{- toYaml . | nindent 4 }}
  ports:
    - port: agents
      protocol: TCP
{{- end }}
{{- end }}

{{- define "zen-control-plane.egress" -}}
{{- if .Values.database.existingSecret }}
# The database.
- ports:
    - port: {{ .Values.database.port }}
      protocol: TCP
  {{- with .Values.networkPolicy.databaseTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- if .Values.oidc.enabled }}
# The OpenID provider.
{{ include "zen-common.anywhere" (list (list "0.0.0.0/0" "::/0") (list (regexFind ":[0-9]+" (trimPrefix "https://" .Values.oidc.issuer) | trimPrefix ":" | default "443"))) }}
{{- end }}
{{- end }}
