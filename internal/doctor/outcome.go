package doctor

import (
	"errors"
	"slices"
	"syscall"
)

// refusals are the errors that mean no; any other, such as too many open files,
// means that nobody knows.
var refusals = []syscall.Errno{
	syscall.EPERM, syscall.EACCES, syscall.EROFS, // not allowed
	syscall.ENOSPC, syscall.EUSERS, // too many user namespaces: user_namespaces(7)
	syscall.ENOENT, syscall.ENODEV, syscall.ENXIO, syscall.ENOSYS, syscall.EINVAL, // not there
	syscall.EOPNOTSUPP, syscall.EPROTONOSUPPORT, syscall.EAFNOSUPPORT, syscall.ENOPROTOOPT,
}

// outcome is what an attempt's error means.
func outcome(err error) Tried {
	if err == nil {
		return Tried{Answer: Yes}
	}
	t := Tried{Answer: Unknown, Error: err.Error()}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		t.Errno = int(errno)
		if slices.Contains(refusals, errno) {
			t.Answer = No
		}
	}
	if errors.Is(err, errors.ErrUnsupported) {
		t.Answer = No
	}
	return t
}
