//go:build unix

package capture

import (
	"os"
	"syscall"
)

// maxRSS is the largest memory of a process that ended, in KiB on Linux.
func maxRSS(p *os.ProcessState) int64 { return p.SysUsage().(*syscall.Rusage).Maxrss }
