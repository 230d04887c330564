//go:build !linux

package timing

import (
	"errors"
	"fmt"
	"runtime"
)

func discipline() (Clock, error) {
	return Clock{}, fmt.Errorf("the clock's discipline is read with adjtimex, which is Linux; this is %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
