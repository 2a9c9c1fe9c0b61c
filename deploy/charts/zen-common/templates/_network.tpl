{{/*
Network policies: all that is not named here is refused, in both directions. Where a place is "any"
the rule has no peer at all, because some network plugins do not count nodes, the Kubernetes API
or pods as part of 0.0.0.0/0. A chart defines `<chart>.ingress` and `<chart>.egress` (YAML lists).
*/}}

{{- define "zen-common.networkPolicy" -}}
{{- if .Values.networkPolicy.enabled -}}
{{- $ingress := include (printf "%s.ingress" .Chart.Name) . | trim -}}
{{- $egress := include (printf "%s.egress" .Chart.Name) . | trim -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ .Chart.Name }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "zen-common.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "zen-common.selectorLabels" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    {{- with $ingress }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with .Values.networkPolicy.metricsFrom }}
    # Prometheus.
    - from:
        {{- toYaml . | nindent 8 }}
      ports:
        - port: admin
          protocol: TCP
    {{- end }}
    {{- with .Values.networkPolicy.extraIngress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  egress:
    # Names.
    - ports:
        {{- range .Values.networkPolicy.dnsPorts }}
        - port: {{ . }}
          protocol: UDP
        - port: {{ . }}
          protocol: TCP
        {{- end }}
      {{- with .Values.networkPolicy.dnsTo }}
      to:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- with $egress }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with (.Values.settings.otlp).endpoint }}
    # Traces.
    - ports:
        - port: {{ regexFind ":[0-9]+" (regexReplaceAll "^[a-z]+://" . "") | trimPrefix ":" | default "4317" }}
          protocol: TCP
    {{- end }}
    {{- with .Values.networkPolicy.extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
{{- end }}

{{/* Pods of this plane, whichever release installed them: a plane has its namespace to itself. Takes a list of components. */}}
{{- define "zen-common.planePods" -}}
- podSelector:
    matchLabels:
      app.kubernetes.io/part-of: zen-mesh
    matchExpressions:
      - key: app.kubernetes.io/component
        operator: In
        values: {{ toJson . }}
{{- end }}

{{/* To the agent next door. */}}
{{- define "zen-common.toAgent" -}}
# The agent.
- to:
    {{- include "zen-common.planePods" (list "agent") | nindent 4 }}
  ports:
    - port: 7443
      protocol: TCP
{{- end }}

{{/* To hosts anywhere, outside the cluster or in it. Takes (list of CIDRs, list of ports). */}}
{{- define "zen-common.anywhere" -}}
- to:
    {{- range index . 0 }}
    - ipBlock:
        cidr: {{ . | quote }}
    {{- end }}
    - namespaceSelector: {}
  ports:
    {{- range index . 1 }}
    - port: {{ . }}
      protocol: TCP
    {{- end }}
{{- end }}
