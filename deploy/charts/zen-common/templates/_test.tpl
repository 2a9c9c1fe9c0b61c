{{/*
The pod of `helm test`. Takes (root, image, args, mounts, volumes, env); the last four are YAML lists. It is no part of
any Service: its labels are its own.
*/}}
{{- define "zen-common.testPod" -}}
{{- $root := index . 0 -}}
apiVersion: v1
kind: Pod
metadata:
  name: {{ $root.Chart.Name }}-test
  namespace: {{ $root.Release.Namespace }}
  labels:
    helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
    app.kubernetes.io/name: {{ $root.Chart.Name }}-test
    app.kubernetes.io/instance: {{ $root.Release.Name }}
    app.kubernetes.io/component: test
    app.kubernetes.io/managed-by: {{ $root.Release.Service }}
  annotations:
    helm.sh/hook: test
    helm.sh/hook-delete-policy: before-hook-creation
spec:
  restartPolicy: Never
  serviceAccountName: {{ include "zen-common.serviceAccountName" $root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with include "zen-common.pullSecrets" $root | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  securityContext:
    {{- include "zen-common.podSecurity" $root | nindent 4 }}
  containers:
    - name: test
      image: {{ index . 1 }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args:
        {{- index . 2 | trim | nindent 8 }}
      {{- with index . 5 | trim }}
      env:
        {{- . | nindent 8 }}
      {{- end }}
      resources:
        {{- toYaml $root.Values.resources | nindent 8 }}
      securityContext:
        {{- include "zen-common.containerSecurity" $root | nindent 8 }}
      {{- with index . 3 | trim }}
      volumeMounts:
        {{- . | nindent 8 }}
      {{- end }}
  {{- with index . 4 | trim }}
  volumes:
    {{- . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "zen-common.configMount" -}}
- name: config
  mountPath: /etc/zen/config.yaml
  subPath: config.yaml
  readOnly: true
{{- end }}

{{- define "zen-common.configVolume" -}}
- name: config
  configMap:
    name: {{ .Chart.Name }}-config
{{- end }}

{{/* Whether the image runs here and takes its configuration: all that a binary without a shell can say of itself. */}}
{{- define "zen-common.configTest" -}}
{{ include "zen-common.testPod" (list . (include "zen-common.image" .) "[--config, /etc/zen/config.yaml, --dump-config]" (include "zen-common.configMount" .) (include "zen-common.configVolume" .) (include (printf "%s.env" .Chart.Name) .)) }}
{{- end }}
