//go:build !linux

package testenv

import (
	"runtime"
	"testing"
)

// Isolate skips the test: namespaces are a Linux feature.
func Isolate(tb testing.TB) bool {
	tb.Helper()
	tb.Skip("network namespaces need Linux; this is " + runtime.GOOS)
	return false
}
