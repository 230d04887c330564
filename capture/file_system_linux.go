package capture

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// systemName is the shb_os of our files.
func systemName() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return runtime.GOOS
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
}
