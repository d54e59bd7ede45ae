{{/*
Fails with a remedy if a CRD already exists outside this release. Helm would refuse as well, but without a remedy. Without
a cluster (`helm template`) the lookup finds no CRD.
*/}}
{{- define "taffrail-crds.ownership" -}}
{{- range $name := list "clusters.taffrail.io" "eventstores.taffrail.io" -}}
{{- $found := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" $name -}}
{{- if $found -}}
{{- $annotations := default dict $found.metadata.annotations -}}
{{- $release := default "" (index $annotations "meta.helm.sh/release-name") -}}
{{- $namespace := default "" (index $annotations "meta.helm.sh/release-namespace") -}}
{{- if not $release -}}
{{- fail (printf "the CRD %s exists and was not installed by helm; set crds.enabled=false to use the existing CRD" $name) -}}
{{- else if or (ne $release $.Release.Name) (ne $namespace $.Release.Namespace) -}}
{{- fail (printf "the CRD %s belongs to the release %s in the namespace %s; set crds.enabled=false to use the existing CRD" $name $release $namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
