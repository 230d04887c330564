package limit_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/synpunch/synpunch/internal/limit"
)

// TestTrouble: the operator hears of it once.
func TestTrouble(t *testing.T) {
	var log bytes.Buffer
	tr := limit.NewTrouble(slog.New(slog.NewTextHandler(&log, nil)))
	for range 3 {
		tr.Wait("accept", errors.New("too many open files"))
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `msg=accept error="too many open files"`) {
		t.Errorf("%s", got)
	}
}
