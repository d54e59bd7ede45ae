{{/*
Fails with a remedy if another release, or nobody known to helm, owns a definition: helm would refuse too, but without
naming the way out. Finds nothing while rendering without a cluster.
*/}}
{{- define "taffrail-crds.ownership" -}}
{{- range $name := list "clusters.taffrail.io" "eventstores.taffrail.io" -}}
{{- $found := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" $name -}}
{{- if $found -}}
{{- $annotations := default dict $found.metadata.annotations -}}
{{- $release := default "" (index $annotations "meta.helm.sh/release-name") -}}
{{- $namespace := default "" (index $annotations "meta.helm.sh/release-namespace") -}}
{{- if not $release -}}
{{- fail (printf "%s exists and was not installed by helm; set crds.enabled=false" $name) -}}
{{- else if or (ne $release $.Release.Name) (ne $namespace $.Release.Namespace) -}}
{{- fail (printf "%s belongs to release %s in namespace %s; set crds.enabled=false" $name $release $namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
