//go:build !linux

package netns_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/synpunch/synpunch/internal/netns"
)

func TestUnsupported(t *testing.T) {
	_, err1 := netns.New()
	_, err2 := netns.RunIsolated(t.Context(), nil)
	for _, err := range []error{err1, err2, netns.LoopbackUp()} {
		if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), runtime.GOOS) {
			t.Errorf("got %v", err)
		}
	}
	if netns.InIsolation() {
		t.Error("isolated, on a system without namespaces")
	}
}
