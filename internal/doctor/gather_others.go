//go:build !linux

package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

func gather(context.Context) *Facts {
	f := &Facts{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), UID: os.Getuid()}
	// Without its path the program is only nameless.
	f.Program, _ = os.Executable()
	return f
}

func tryLab() Tried { return outcome(unsupported("the lab")) }

func runIsolated(*exec.Cmd) error { return unsupported("a network namespace") }

func unsupported(what string) error {
	return fmt.Errorf("%s needs Linux; this is %s: %w", what, runtime.GOOS, errors.ErrUnsupported)
}
