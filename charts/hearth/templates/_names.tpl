{{/* The prefix of every object: the release's name, with `hearth` in it. */}}
{{- define "hearth.name" -}}
{{- if contains "hearth" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-hearth" (.Release.Name | trunc 33 | trimSuffix "-") }}{{ end }}
{{- end }}

{{/* Cluster-scoped objects carry the namespace too, so that two releases do not share one. */}}
{{- define "hearth.clusterName" -}}
{{ .Release.Namespace }}-{{ include "hearth.name" . }}
{{- end }}

{{- define "hearth.selector" -}}
app.kubernetes.io/name: hearth
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "hearth.labels" -}}
{{ include "hearth.selector" . }}
app.kubernetes.io/part-of: hearth
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Rules of one scope, from the file that is generated from the operator's own table. */}}
{{- define "hearth.rules" -}}
{{- $rules := .root.Files.Get "files/rbac.yaml" | fromYaml }}
{{- toYaml (get $rules .scope) }}
{{- end }}
