{{/* The operator's settings file: hearth.plan.settings.Settings. */}}
{{- define "hearth.settings" -}}
{{- $images := dict }}
{{- range $key, $name := dict "trainer" "trainer" "indexer" "indexer" "gateway" "gateway" "vllm" "vllm" "vllmCpu" "vllm_cpu" "milvus" "milvus" "milvusLite" "milvus_lite" }}
{{- $_ := set $images $name (get $.Values.images $key) }}
{{- end }}
{{- dict "images" $images
      "namespace" .Release.Namespace
      "cluster_domain" .Values.clusterDomain
      "progress_url" (printf "https://%s-progress.%s.svc:8443" (include "hearth.name" .) .Release.Namespace)
    | toYaml }}
{{- end }}
