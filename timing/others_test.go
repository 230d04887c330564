//go:build !linux

package timing

import (
	"errors"
	"runtime"
	"strings"
	"testing"
)

func TestOthersSaySo(t *testing.T) {
	if _, err := Discipline(); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), runtime.GOOS) {
		t.Errorf("Discipline: %v", err)
	}
	th := openThread(t, &Config{Realtime: true, CPUs: []int{0}})
	if notes := strings.Join(th.Notes(), "\n"); !strings.Contains(notes, runtime.GOOS) {
		t.Errorf("notes: %q", notes)
	}
}
