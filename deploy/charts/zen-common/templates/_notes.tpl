{{/*
What `helm uninstall` leaves, for the notes.
*/}}

{{/* Of a plane, or of an agent alone. */}}
{{- define "zen-common.left" -}}
What `helm uninstall` leaves, so that a plane that comes back goes on where it was: the agent's own Secrets
(identity, last good snapshot), the ConfigMap zen-trust-bundle, the Lease zen-agent, enrolment Secrets that were not
redeemed, the volumes with events, and the pods of `helm test`. Once the plane is retired, or to forget it:

  kubectl delete -n {{ .Release.Namespace }} secret,configmap -l app.kubernetes.io/managed-by=zen-agent
  kubectl delete -n {{ .Release.Namespace }} secret/zen-enrollment secret/zen-enrollment-key configmap/zen-trust-bundle lease/zen-agent --ignore-not-found
{{ include "zen-common.deleteVolumes" . }}
{{- end }}

{{/* Of a component alone. */}}
{{- define "zen-common.leftVolume" -}}
What `helm uninstall` leaves: the volume with what was acknowledged, and the pod of `helm test`. To forget it:

{{ include "zen-common.deleteVolumes" . }}
{{- end }}

{{- define "zen-common.deleteVolumes" -}}
{{ "  " }}kubectl delete -n {{ .Release.Namespace }} pvc -l app.kubernetes.io/instance={{ .Release.Name }}
  kubectl delete -n {{ .Release.Namespace }} pod -l app.kubernetes.io/instance={{ .Release.Name }},app.kubernetes.io/component=test
{{- end }}
