{{/*
Whole objects that look the same in every chart.
*/}}

{{- define "zen-common.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "zen-common.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "zen-common.labels" . | nindent 4 }}
  {{- with .Values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}
{{- end }}

{{/* A component whose data must survive: one volume per replica, kept when the release goes. */}}
{{- define "zen-common.statefulSet" -}}
{{- include "zen-common.persistenceHolds" . }}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ .Chart.Name }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "zen-common.labels" . | nindent 4 }}
spec:
  replicas: {{ .Values.replicas }}
  serviceName: {{ .Chart.Name }}
  # Each has a journal of its own: none waits for another.
  podManagementPolicy: Parallel
  persistentVolumeClaimRetentionPolicy:
    whenDeleted: Retain
    whenScaled: Retain
  selector:
    matchLabels:
      {{- include "zen-common.selectorLabels" . | nindent 6 }}
  template:
    {{- include "zen-common.podTemplate" . | trim | nindent 4 }}
  volumeClaimTemplates:
    - apiVersion: v1
      kind: PersistentVolumeClaim
      metadata:
        name: state
        labels:
          {{- include "zen-common.selectorLabels" . | nindent 10 }}
        {{- with .Values.persistence.annotations }}
        annotations:
          {{- toYaml . | nindent 10 }}
        {{- end }}
      spec:
        accessModes: [{{ .Values.persistence.accessMode }}]
        {{- if .Values.persistence.storageClass }}
        storageClassName: {{ .Values.persistence.storageClass | quote }}
        {{- end }}
        resources:
          requests:
            storage: {{ .Values.persistence.size }}
{{- end }}

{{/* One Deployment; `Recreate` where two must never be at once. Takes (root, strategy). */}}
{{- define "zen-common.deployment" -}}
{{- $root := index . 0 -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $root.Chart.Name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "zen-common.labels" $root | nindent 4 }}
spec:
  replicas: {{ $root.Values.replicas }}
  revisionHistoryLimit: 3
  strategy:
    type: {{ index . 1 }}
    {{- if eq (index . 1) "RollingUpdate" }}
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
    {{- end }}
  selector:
    matchLabels:
      {{- include "zen-common.selectorLabels" $root | nindent 6 }}
  template:
    {{- include "zen-common.podTemplate" $root | trim | nindent 4 }}
{{- end }}

{{/* Only where there is more than one: a budget for a single pod would hold up every drain of its node. */}}
{{- define "zen-common.podDisruptionBudget" -}}
{{- if gt (int .Values.replicas) 1 -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .Chart.Name }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "zen-common.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "zen-common.selectorLabels" . | nindent 6 }}
{{- end }}
{{- end }}

{{/* One Service. Takes (root, name, values of the service, list of ports, publish before ready). */}}
{{- define "zen-common.service" -}}
{{- $root := index . 0 -}}
{{- $service := index . 2 -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ index . 1 }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "zen-common.labels" $root | nindent 4 }}
  {{- with $service.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ $service.type | default "ClusterIP" }}
  {{- if index . 4 }}
  publishNotReadyAddresses: true
  {{- end }}
  {{- with $service.loadBalancerClass }}
  loadBalancerClass: {{ . }}
  {{- end }}
  {{- with $service.loadBalancerSourceRanges }}
  loadBalancerSourceRanges:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $service.externalTrafficPolicy }}
  externalTrafficPolicy: {{ . }}
  {{- end }}
  selector:
    {{- include "zen-common.selectorLabels" $root | nindent 4 }}
  ports:
    {{- range index . 3 }}
    - name: {{ .name }}
      port: {{ .port }}
      targetPort: {{ .name }}
      protocol: TCP
      {{- with .appProtocol }}
      appProtocol: {{ . }}
      {{- end }}
      {{- with .nodePort }}
      nodePort: {{ . }}
      {{- end }}
    {{- end }}
{{- end }}

{{/* An Ingress to one named port of a Service. Takes (root, values of the ingress, service, port). */}}
{{- define "zen-common.ingress" -}}
{{- $root := index . 0 -}}
{{- $ingress := index . 1 -}}
{{- $service := index . 2 -}}
{{- $port := index . 3 -}}
{{- if $ingress.enabled -}}
{{- if not $ingress.host }}
{{- fail (printf "%s has an Ingress without a host: set %s to the name that its callers use." $root.Chart.Name (include "zen-common.path" (list $root "ingress.host"))) }}
{{- end -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ $service }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "zen-common.labels" $root | nindent 4 }}
  {{- with $ingress.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with $ingress.className }}
  ingressClassName: {{ . }}
  {{- end }}
  {{- with $ingress.tlsSecret }}
  tls:
    - hosts: [{{ $ingress.host | quote }}]
      secretName: {{ . }}
  {{- end }}
  rules:
    - host: {{ $ingress.host | quote }}
      http:
        paths:
          - path: {{ $ingress.path | default "/" }}
            pathType: Prefix
            backend:
              service:
                name: {{ $service }}
                port:
                  name: {{ $port }}
{{- end }}
{{- end }}
