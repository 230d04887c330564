//go:build !linux

package rawtcp_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/synpunch/synpunch/rawtcp"
)

func TestOpenIsUnsupported(t *testing.T) {
	c, err := rawtcp.Open("ip4", nil)
	if c != nil || !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), runtime.GOOS) {
		t.Errorf("Open: %v, %v; want an error that names %s", c, err, runtime.GOOS)
	}
}
