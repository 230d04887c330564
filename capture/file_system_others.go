//go:build !linux

package capture

import "runtime"

// systemName is the shb_os of our files.
func systemName() string { return runtime.GOOS }
