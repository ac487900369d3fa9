//go:build tools

// Package kwok pins what carries simulated nodes and pods.
package kwok

import (
	_ "sigs.k8s.io/kwok/cmd/kwok"
)
