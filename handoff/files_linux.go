package handoff

import (
	"fmt"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// spareFiles are descriptors for all else that the process opens meanwhile. Chosen by us.
const spareFiles = 256

// files is a share in the raised limit on open files; true while it is held.
type files bool

// fileLimit is the process's limit on open files. It stays raised until the last
// share is given back.
var fileLimit struct {
	sync.Mutex
	shares int
	before *unix.Rlimit // nil: it is as it was found
}

// raise sees to it that n more descriptors can be opened now.
func (f *files) raise(n int) error {
	fileLimit.Lock()
	defer fileLimit.Unlock()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("count the open files: %w", err)
	}
	var now unix.Rlimit
	if err := prlimit(nil, &now); err != nil {
		return err
	}
	if want := uint64(len(open) + n + spareFiles); want > now.Cur {
		to := unix.Rlimit{Cur: want, Max: max(want, now.Max)}
		if err := prlimit(&to, nil); err != nil {
			return tooFewFiles(err, n, now.Max)
		}
		if fileLimit.before == nil {
			fileLimit.before = &now
		}
	}
	fileLimit.shares++
	*f = true
	return nil
}

// tooFewFiles says what to do about the hard limit. The kernel has refused to raise
// it: EPERM, which would be read as a missing capability for punching.
func tooFewFiles(err error, n int, hard uint64) error {
	return fmt.Errorf("%w: %d ports need a descriptor each, and the hard limit of open files is %d (%v to raise it): take fewer ports, or raise it as root: 'ulimit -n %d'; with systemd LimitNOFILE=",
		unix.EMFILE, n, hard, err, n+spareFiles+64)
}

// giveBack ends the share. The last one puts the limit back.
func (f *files) giveBack() error {
	fileLimit.Lock()
	defer fileLimit.Unlock()
	if !*f {
		return nil
	}
	*f = false
	fileLimit.shares--
	if fileLimit.shares > 0 || fileLimit.before == nil {
		return nil
	}
	before := fileLimit.before
	fileLimit.before = nil
	return prlimit(before, nil)
}

// prlimit is prlimit(2) on this process. The wrapper in package unix would make
// os/exec forget the limit that the process was started with, which it gives to children.
func prlimit(to, old *unix.Rlimit) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, uintptr(unsafe.Pointer(to)), uintptr(unsafe.Pointer(old)), 0, 0)
	if errno != 0 {
		return fmt.Errorf("limit on open files: %w", errno)
	}
	return nil
}
