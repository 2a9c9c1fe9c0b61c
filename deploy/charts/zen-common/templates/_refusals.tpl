{{/*
What cannot work is refused when the chart is rendered, with a sentence that says what to set.
*/}}

{{- define "zen-common.persistenceHolds" -}}
{{- if not .Values.persistence.enabled }}
{{- fail (printf "%s keeps what it acknowledged on a volume, and without one a restarted pod loses it: leave %s=true; %s chooses another kind of volume." .Chart.Name (include "zen-common.path" (list . "persistence.enabled")) (include "zen-common.path" (list . "persistence.storageClass"))) }}
{{- end }}
{{- end }}

{{- define "zen-common.graceHolds" -}}
{{- $grace := (.Values.settings.shutdown_grace | default "30s") | trimSuffix "s" | int }}
{{- if le (int .Values.terminationGracePeriodSeconds) $grace }}
{{- fail (printf "%s would be killed before it has drained: set %s above settings.shutdown_grace (%ds)." .Chart.Name (include "zen-common.path" (list . "terminationGracePeriodSeconds")) $grace) }}
{{- end }}
{{- end }}

{{/* Takes (root, reason): more than one replica of what must be alone. */}}
{{- define "zen-common.oneReplica" -}}
{{- $root := index . 0 }}
{{- if ne (int $root.Values.replicas) 1 }}
{{- fail (printf "%s runs exactly once, because %s: set %s=1." $root.Chart.Name (index . 1) (include "zen-common.path" (list $root "replicas"))) }}
{{- end }}
{{- end }}
