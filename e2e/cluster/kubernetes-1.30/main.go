// Command kube-apiserver is the API server of the oldest Kubernetes that TrafficTrace supports, unchanged.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"

	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

func main() {
	os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
}
