package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/synpunch/synpunch/internal/netns"
	"github.com/synpunch/synpunch/internal/testenv"
)

// TestDemoFanInterrupted: Ctrl-C in the middle leaves a report of what was sent.
func TestDemoFanInterrupted(t *testing.T) {
	dir := t.TempDir()
	line := commandHere(t, "demo")
	cmd := exec.CommandContext(t.Context(), line[0], append(line[1:], "--strategy", "fan", "--json", "--capture", dir,
		"--nat-a", "random", "--nat-b", "random", "--rate", "500", "--timeout", "1m")...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Two answers of the router behind the NAT come before the instant, and more while SYNs leave.
	const answers = 4 * 100 // bytes
	first := int64(0)
	if err := waitFor(20*time.Second, func() bool {
		st, err := os.Stat(filepath.Join(dir, "a.pcapng"))
		if err == nil && first == 0 {
			first = st.Size()
		}
		return first > 0 && st.Size() >= first+answers
	}); err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	err := cmd.Wait()
	if strings.Contains(stderr.String(), netns.ErrNoUserNamespace.Error()[:20]) {
		testenv.Skip(t, stderr.String())
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitFailed || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("%v: %s", err, stderr.String())
	}
	var res demoResult
	if err := json.Unmarshal([]byte(stdout.String()), &res); err != nil || res.A == nil || res.A.FanOut == nil || res.A.FanOut.Planned != 2*64512 || res.A.FanOut.SYNs == 0 {
		t.Errorf("%v: %s", err, stdout.String())
	}
}
