//go:build !linux

package live

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/synpunch/synpunch/lab"
)

func TestUnsupported(t *testing.T) {
	_, err := Build(t.Context(), &lab.Scenario{}, nil)
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), runtime.GOOS) {
		t.Errorf("got %v", err)
	}
}
