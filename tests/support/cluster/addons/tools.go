//go:build tools

// Package addons pins what many clusters have beside Kubernetes itself: metrics of pods, and the definitions of the Gateway API.
package addons

import (
	_ "sigs.k8s.io/gateway-api/apis/v1"
	_ "sigs.k8s.io/metrics-server/cmd/metrics-server"
)
