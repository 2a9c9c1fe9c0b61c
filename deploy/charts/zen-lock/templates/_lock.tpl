{{/*
What zen-lock's chart decides itself: its configuration, its pod, whom it speaks to and who speaks to it.
*/}}

{{- define "zen-lock.config" -}}
{{- if and (not .Values.agent.enabled) (not .Values.cluster) }}
{{- fail (printf "zen-lock without an agent serves secrets of a cluster, and this one has no name: set %s." (include "zen-common.path" (list . "cluster"))) }}
{{- end -}}
{{- if and (not .Values.agent.enabled) (not .Values.pods.enabled) }}
{{- fail (printf "zen-lock would serve nobody: set %s=true or %s=true." (include "zen-common.path" (list . "agent.enabled")) (include "zen-common.path" (list . "pods.enabled"))) }}
{{- end -}}
state_dir: /var/lib/zen/lock
identities_dir: /etc/zen/lock/identities
{{- with .Values.identities.active }}
active_identity: {{ . | quote }}
{{- end }}
{{- with .Values.cluster }}
cluster: {{ . | quote }}
{{- end }}
{{- with .Values.writers }}
writers:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .Values.sealed.existingConfigMap }}
sealed_dir: /etc/zen/lock/sealed
{{- end }}
{{- if .Values.agent.enabled }}
listen: '{{ .Values.listenAddress }}:7446'
{{ include "zen-common.neighbour" . }}
{{- else }}
# Nobody asks without a plane.
listen: unix:/var/lib/zen/lock/lock.sock
agent: null
{{- end }}
{{- if .Values.pods.enabled }}
kubernetes:
  listen: '{{ .Values.listenAddress }}:7447'
  namespace: {{ .Release.Namespace }}
  service: zen-lock
  port: 7447
  image: {{ include "zen-common.image" . }}
  run_as_user: {{ .Values.pods.runAsUser | toJson }}
  webhook: zen-lock-{{ .Release.Namespace }}
{{- end }}
{{- end }}

{{- define "zen-lock.ports" -}}
{{- if .Values.agent.enabled }}
- name: grpc
  containerPort: 7446
  protocol: TCP
{{- end }}
{{- if .Values.pods.enabled }}
- name: webhooks
  containerPort: 7447
  protocol: TCP
{{- end }}
{{- end }}

{{- define "zen-lock.env" -}}
{{- if .Values.agent.enabled }}
{{ include "zen-common.instanceEnv" . }}
{{- end }}
{{- end }}

{{- define "zen-lock.mounts" -}}
- name: state
  mountPath: /var/lib/zen/lock
- name: identities
  mountPath: /etc/zen/lock/identities
  readOnly: true
{{- if .Values.sealed.existingConfigMap }}
- name: sealed
  mountPath: /etc/zen/lock/sealed
  readOnly: true
{{- end }}
{{- if .Values.agent.enabled }}
{{ include "zen-common.neighbourMounts" . }}
{{- end }}
{{- if .Values.pods.enabled }}
- name: kubernetes-api
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- end }}
{{- end }}

{{- define "zen-lock.volumes" -}}
# The audit log, which is in the container's log too; and the last configuration, which the agent has.
- name: state
  emptyDir:
    sizeLimit: 256Mi
- name: identities
  secret:
    secretName: {{ .Values.identities.existingSecret }}
    defaultMode: 0440
    # Without it zen-lock runs, opens nothing, and says so.
    optional: true
{{- with .Values.sealed.existingConfigMap }}
- name: sealed
  configMap:
    name: {{ . }}
{{- end }}
{{- if .Values.agent.enabled }}
{{ include "zen-common.neighbourVolumes" . }}
{{- end }}
{{- if .Values.pods.enabled }}
- name: kubernetes-api
  projected:
    sources:
      - serviceAccountToken:
          expirationSeconds: 3607
          path: token
      - configMap:
          name: kube-root-ca.crt
          items:
            - key: ca.crt
              path: ca.crt
      - downwardAPI:
          items:
            - path: namespace
              fieldRef:
                fieldPath: metadata.namespace
{{- end }}
{{- end }}

{{- define "zen-lock.ingress" -}}
{{- if .Values.agent.enabled }}
# The components that have a use for secrets.
- from:
    {{- include "zen-common.planePods" (list "ingester" "egress") | nindent 4 }}
  ports:
    - port: grpc
      protocol: TCP
{{- end }}
{{- if .Values.pods.enabled }}
# The API server, which is no pod, and pods of any namespace. Who they are is proved by token.
- ports:
    - port: webhooks
      protocol: TCP
  {{- with .Values.networkPolicy.webhooksFrom }}
  from:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "zen-lock.egress" -}}
{{- if .Values.agent.enabled }}
{{ include "zen-common.toAgent" . }}
{{- end }}
{{- if .Values.pods.enabled }}
# The Kubernetes API.
- ports:
    {{- range .Values.networkPolicy.kubernetesApiPorts }}
    - port: {{ . }}
      protocol: TCP
    {{- end }}
  {{- with .Values.networkPolicy.kubernetesApiCidrs }}
  to:
    {{- range . }}
    - ipBlock:
        cidr: {{ . | quote }}
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}
