//go:build !linux

package capture_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/synpunch/synpunch/capture"
)

func TestOpenSaysWhatIsMissing(t *testing.T) {
	l, err := capture.Open("", nil)
	if l != nil || !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), runtime.GOOS) {
		t.Errorf("Open() = %v, %v", l, err)
	}
}
