//go:build tools

// Package tools names the commands that the local Kubernetes is made of, so that `go mod tidy` keeps their versions in
// go.mod and their checksums in go.sum. One module for all of them: client-go is then compiled once. scripts/k8s-tools.sh
// builds them.
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
