package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMatrixInterrupted: Ctrl-C keeps what is done, the figure included.
func TestMatrixInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var stdout, stderr bytes.Buffer
	cancel()
	plot := filepath.Join(t.TempDir(), "heat.svg")
	code := run(ctx, []string{"matrix", "--trials", "1000000000", "--json", "--plot", plot}, strings.NewReader(""), &stdout, &stderr)
	var res struct {
		Attempts int
		Cells    []struct{ Attempts int }
	}
	if err := json.Unmarshal(stdout.Bytes(), &res); err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	if code != exitFailed || res.Attempts != 1e9 || len(res.Cells) == 0 || res.Cells[0].Attempts != 0 || !strings.Contains(stderr.String(), "interrupted after 0 of ") {
		t.Errorf("exit code %d, %s", code, stderr.String())
	}
	if st, err := os.Stat(plot); err != nil || st.Size() == 0 {
		t.Errorf("%v, %v", st, err)
	}
}

// TestMatrixPlotStays: a run that cannot begin leaves the figure that was there.
func TestMatrixPlotStays(t *testing.T) {
	old := filepath.Join(t.TempDir(), "old.svg")
	if err := os.WriteFile(old, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := openPlot(old)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.discard(); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(old); err != nil || string(text) != "precious" {
		t.Errorf("%q, %v", text, err)
	}
	fresh := filepath.Join(t.TempDir(), "fresh.png")
	if p, err = openPlot(fresh); err != nil {
		t.Fatal(err)
	}
	if err := p.discard(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(fresh); !os.IsNotExist(err) {
		t.Error(err)
	}
}

func TestTimeLeft(t *testing.T) {
	if got := timeLeft(10*time.Second, 25, 100); got != 30*time.Second {
		t.Errorf("%v", got)
	}
}
