package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/synpunch/synpunch/internal/netns"
	"github.com/synpunch/synpunch/internal/testenv"
)

// TestMatrixLive runs the command as a person does: it makes its own namespaces.
func TestMatrixLive(t *testing.T) {
	line := append(commandHere(t, "matrix"), "--world", "live", "--kinds", "linux-rst,eim-eif", "--trials", "2", "--json")
	cmd := exec.CommandContext(t.Context(), line[0], line[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState.ExitCode() == exitMissing && strings.Contains(stderr.String(), netns.ErrNoUserNamespace.Error()[:20]) {
		testenv.Skip(t, stderr.String())
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var res struct {
		Setup struct{ World string }
		Cells []struct {
			A, B      string
			Verdict   string
			Connected struct{ Count int }
		}
	}
	if err := json.Unmarshal(stdout.Bytes(), &res); err != nil {
		t.Fatalf("%v in %q: %s", err, stdout.String(), stderr.String())
	}
	if err != nil || res.Setup.World != "live" || len(res.Cells) != 4 {
		t.Errorf("%v, %+v, %s", err, res, stderr.String())
	}
	for _, c := range res.Cells {
		if c.Verdict != "YES" || c.Connected.Count != 2 {
			t.Errorf("%+v", c)
		}
	}
}
