{{/*
What the agent decides itself: its configuration, its pod, and whom it speaks to.
*/}}

{{- define "zen-agent.planeId" -}}
{{- $global := .Values.global | default dict -}}
{{- $id := .Values.planeId | default $global.planeId -}}
{{- if not $id }}
{{- fail "There is no plane id: set global.planeId=pl_… (the plane's page and its install command show it)." }}
{{- end -}}
{{ $id }}
{{- end }}

{{- define "zen-agent.controlPlane" -}}
{{- $global := .Values.global | default dict -}}
{{- $address := .Values.controlPlane.address | default (($global.controlPlane).address) -}}
{{- if not $address }}
{{- fail "There is no address of the control plane: set global.controlPlane.address=host:8443 (the install command of the plane's page has it)." }}
{{- end -}}
{{ $address }}
{{- end }}

{{- define "zen-agent.config" -}}
plane_id: {{ include "zen-agent.planeId" . }}
listen: '{{ .Values.listenAddress }}:7443'
{{- with .Values.proxy }}
proxy: {{ . | quote }}
{{- end }}
{{- if .Values.enrollment.lock.enabled }}
enrollment:
  lock:
    # Not the Service that leads to what is ready: zen-lock is not, before the agent is enrolled.
    address: zen-lock-enrollment.{{ .Release.Namespace }}.svc:7447
    server_name: zen-lock.{{ .Release.Namespace }}.svc
    ca_file: /etc/zen/lock-ca/ca.pem
    token_file: /var/run/zen/lock-token/token
{{- end }}
kubernetes:
  namespace: {{ .Release.Namespace }}
  bundle_secret: {{ .Values.enrollment.bundleSecret }}
  bundle_key_secret: {{ .Values.enrollment.keySecret }}
  lease_duration: {{ .Values.leaseDuration }}
  service_accounts:
    {{- toYaml .Values.serviceAccounts | nindent 4 }}
{{- end }}

{{- define "zen-agent.ports" -}}
- name: grpc
  containerPort: 7443
  protocol: TCP
{{- end }}

{{- define "zen-agent.env" -}}
- name: ZEN_AGENT__KUBERNETES__POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: ZEN_AGENT__KUBERNETES__POD_UID
  valueFrom:
    fieldRef:
      fieldPath: metadata.uid
{{- end }}

{{/* Where the Kubernetes libraries look for token, roots and namespace; mounted by name instead of automatically. */}}
{{- define "zen-agent.mounts" -}}
- name: kubernetes-api
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- if .Values.enrollment.lock.enabled }}
- name: lock-ca
  mountPath: /etc/zen/lock-ca
  readOnly: true
- name: lock-token
  mountPath: /var/run/zen/lock-token
  readOnly: true
{{- end }}
{{- end }}

{{- define "zen-agent.volumes" -}}
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
{{- if .Values.enrollment.lock.enabled }}
# zen-lock publishes it when it starts, perhaps later than this pod.
- name: lock-ca
  configMap:
    name: zen-lock-ca
    optional: true
- name: lock-token
  projected:
    sources:
      - serviceAccountToken:
          audience: zen-lock
          expirationSeconds: 600
          path: token
{{- end }}
{{- end }}

{{- define "zen-agent.doctorArgs" -}}
- doctor
- --config
- /etc/zen/config.yaml
- --control-plane
- {{ include "zen-agent.controlPlane" . | quote }}
{{- end }}

{{- define "zen-agent.initContainers" -}}
{{- if .Values.doctor.enabled }}
# It only tells; `kubectl logs -c doctor` shows its table.
- name: doctor
  image: {{ include "zen-common.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args:
    {{- include "zen-agent.doctorArgs" . | nindent 4 }}
    {{- if .Values.doctor.strict }}
    - --strict
    {{- end }}
  env:
    {{- include "zen-agent.env" . | nindent 4 }}
    {{- with .Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  securityContext:
    {{- include "zen-common.containerSecurity" . | nindent 4 }}
  volumeMounts:
    {{- include "zen-common.configMount" . | nindent 4 }}
    {{- include "zen-agent.mounts" . | nindent 4 }}
    {{- with .Values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
{{- end }}

{{- define "zen-agent.ingress" -}}
# The components of this plane.
- from:
    {{- include "zen-common.planePods" (list "ingester" "egress" "lock" "bridge") | nindent 4 }}
  ports:
    - port: grpc
      protocol: TCP
{{- end }}

{{/* The ports that control-plane addresses and the proxy name, each once. */}}
{{- define "zen-agent.egress" -}}
{{- $ports := list }}
{{- with .Values.proxy }}
{{- $ports = append $ports (regexFind "[0-9]+$" .) }}
{{- end }}
{{- range splitList "," (include "zen-agent.controlPlane" .) }}
{{- $ports = append $ports (regexFind "[0-9]+$" (trim .)) }}
{{- end }}
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
{{- if .Values.enrollment.lock.enabled }}
# zen-lock, which opens the bundle.
- to:
    {{- include "zen-common.planePods" (list "lock") | nindent 4 }}
  ports:
    - port: 7447
      protocol: TCP
{{- end }}
# The control plane, which is somewhere else, or the proxy that leads there.
{{ include "zen-common.anywhere" (list .Values.networkPolicy.controlPlaneCidrs (uniq $ports)) }}
{{- end }}
