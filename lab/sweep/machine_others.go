//go:build !linux

package sweep

// kernelRelease is not known here.
func kernelRelease() string { return "" }
