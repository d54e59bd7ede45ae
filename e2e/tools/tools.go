//go:build tools

// Package tools imports the commands of the local Kubernetes, so `go mod tidy` keeps their versions in go.mod and their
// checksums in go.sum. All commands share a module, so client-go is compiled only once. scripts/k8s-tools.sh builds the
// commands.
package tools

import (
	_ "go.etcd.io/etcd/server/v3"
	_ "helm.sh/helm/v3/cmd/helm"
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kube-proxy"
	_ "k8s.io/kubernetes/cmd/kube-scheduler"
	_ "k8s.io/kubernetes/cmd/kubectl"
	_ "k8s.io/kubernetes/cmd/kubelet"
)
