package sweep

import (
	"runtime"
	"runtime/debug"
	"time"
)

// fill fills in what describes this machine and program.
func (m *Manifest) fill() {
	m.Format, m.Version = Format, Version
	for _, f := range []struct {
		to    *string
		value string
	}{{&m.Synpunch, moduleVersion()}, {&m.Go, runtime.Version()}, {&m.OS, runtime.GOOS}, {&m.Arch, runtime.GOARCH}, {&m.Kernel, kernelRelease()}} {
		if *f.to == "" {
			*f.to = f.value
		}
	}
	if m.CPUs == 0 {
		m.CPUs = runtime.NumCPU()
	}
	if m.Started.IsZero() {
		m.Started = time.Now().UTC()
	}
	if m.Command == nil {
		m.Command = []string{}
	}
}

const modulePath = "github.com/synpunch/synpunch"

// moduleVersion is the version of this module in the running program, as the Go
// toolchain recorded it.
func moduleVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == modulePath && m.Version != "" {
			return m.Version
		}
	}
	return "(devel)"
}
