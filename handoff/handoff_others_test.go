//go:build !linux

package handoff_test

import (
	"errors"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/synpunch/synpunch/handoff"
)

func TestUnsupported(t *testing.T) {
	local, remote := netip.MustParseAddrPort("192.0.2.1:1000"), netip.MustParseAddrPort("192.0.2.2:1000")
	for name, call := range map[string]func() error{
		"OpenGuard":      func() error { _, err := handoff.OpenGuard(local, nil); return err },
		"OpenGuards":     func() error { _, err := handoff.OpenGuards(local, 2, nil); return err },
		"PrepareRepair":  func() error { _, err := handoff.PrepareRepair(local, remote, nil); return err },
		"PreparePark":    func() error { _, err := handoff.PreparePark(local, remote, nil); return err },
		"Park":           func() error { _, err := handoff.Park(t.Context(), local, remote, nil); return err },
		"PrepareConnect": func() error { _, err := handoff.PrepareConnect(local, remote, nil); return err },
		"ProbeRepair":    func() error { _, err := handoff.ProbeRepair(); return err },
		"ReceiveUnix":    func() error { _, err := handoff.ReceiveUnix(t.Context(), "x"); return err },
	} {
		if err := call(); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), runtime.GOOS) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
