{{/*
The pod that all components share: Pod Security `restricted`, a read-only root, no token of the
service account but the ones that are mounted by name, probes on the admin port.
A chart defines `<chart>.ports`, `.env`, `.mounts`, `.volumes` (YAML lists, may be empty), and
`<chart>.initContainers` if it has the value `doctor`.
*/}}

{{- define "zen-common.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "zen-common.podSecurity" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- with .Values.podSecurityContext }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Spread by default where there is more than one. */}}
{{- define "zen-common.spread" -}}
{{- if .Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml .Values.topologySpreadConstraints | nindent 2 }}
{{- else if gt (int .Values.replicas) 1 }}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "zen-common.selectorLabels" $ | nindent 8 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* The token and roots with which a component first speaks to the agent. */}}
{{- define "zen-common.neighbourVolumes" -}}
- name: agent-token
  projected:
    sources:
      - serviceAccountToken:
          audience: zen-agent
          expirationSeconds: 3600
          path: token
- name: trust
  configMap:
    name: zen-trust-bundle
    # The agent publishes it; a component waits for it without failing.
    optional: true
{{- end }}

{{- define "zen-common.neighbourMounts" -}}
- name: agent-token
  mountPath: /var/run/secrets/zen
  readOnly: true
- name: trust
  mountPath: /etc/zen/trust
  readOnly: true
{{- end }}

{{- define "zen-common.instanceEnv" -}}
- name: {{ include "zen-common.envPrefix" . }}__AGENT__INSTANCE
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- end }}

{{- define "zen-common.podTemplate" -}}
{{- include "zen-common.graceHolds" . }}
metadata:
  labels:
    {{- include "zen-common.podLabels" . | nindent 4 }}
  annotations:
    kubectl.kubernetes.io/default-container: {{ .Chart.Name }}
    checksum/config: {{ include "zen-common.config" . | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "zen-common.serviceAccountName" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- with include "zen-common.pullSecrets" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  securityContext:
    {{- include "zen-common.podSecurity" . | nindent 4 }}
  {{- if hasKey .Values "doctor" }}
  {{- with include (printf "%s.initContainers" .Chart.Name) . | trim }}
  initContainers:
    {{- . | nindent 4 }}
  {{- end }}
  {{- end }}
  containers:
    - name: {{ .Chart.Name }}
      image: {{ include "zen-common.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [--config, /etc/zen/config.yaml]
      {{- $env := include (printf "%s.env" .Chart.Name) . | trim }}
      {{- if or $env .Values.extraEnv }}
      env:
        {{- with $env }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
      ports:
        {{- with include (printf "%s.ports" .Chart.Name) . | trim }}
        {{- . | nindent 8 }}
        {{- end }}
        - name: admin
          containerPort: 9600
          protocol: TCP
      startupProbe:
        httpGet:
          path: /livez
          port: admin
        periodSeconds: 2
        timeoutSeconds: 2
        # A journal of many GiB is read once at the start: five minutes.
        failureThreshold: 150
      livenessProbe:
        httpGet:
          path: /livez
          port: admin
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet:
          path: /readyz
          port: admin
        periodSeconds: 5
        timeoutSeconds: 2
        failureThreshold: 2
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        {{- include "zen-common.containerSecurity" . | nindent 8 }}
      volumeMounts:
        {{- include "zen-common.configMount" . | nindent 8 }}
        {{- include (printf "%s.mounts" .Chart.Name) . | trim | nindent 8 }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    {{- include "zen-common.configVolume" . | nindent 4 }}
    {{- include (printf "%s.volumes" .Chart.Name) . | trim | nindent 4 }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with include "zen-common.spread" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
