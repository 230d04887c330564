package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/synpunch/synpunch/internal/netns"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab/sweep"
)

// stopper is standard output that interrupts after some rows.
type stopper struct {
	stop func()
	left int
}

func (s *stopper) Write(b []byte) (int, error) {
	if s.left--; s.left == 0 {
		s.stop()
	}
	return len(b), nil
}

// TestSweepInterrupted: Ctrl-C loses nothing, says how to go on, and going on gives what
// an uninterrupted sweep gives.
func TestSweepInterrupted(t *testing.T) {
	dir := t.TempDir()
	line := []string{"sweep", "--from", "-30ms", "--to", "30ms", "--step", "10ms", "--trials", "60", "--jitter", "3ms", "--clock-error", "5ms", "--jsonl", "-"}
	var whole, stderr bytes.Buffer
	if code := run(t.Context(), line, strings.NewReader(""), &whole, &stderr); code != exitDone {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stopped := filepath.Join(dir, "stopped")
	code := run(ctx, append(line, "-o", stopped), strings.NewReader(""), &stopper{cancel, 100}, &stderr)
	if code != exitFailed || !strings.Contains(stderr.String(), " of 420 trials; to go on: synpunch sweep --resume "+stopped) {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	_, rows, err := sweep.Read(stopped)
	if err != nil || len(rows) < 100 || len(rows) >= 420 {
		t.Fatalf("%d rows: %v", len(rows), err)
	}
	if _, err := os.Stat(filepath.Join(stopped, "success.svg")); err != nil {
		t.Errorf("no figure of what is done: %v", err)
	}
	var again bytes.Buffer
	if code := run(t.Context(), []string{"sweep", "--resume", stopped, "--jsonl", "-"}, strings.NewReader(""), &again, &stderr); code != exitDone {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	text, err := os.ReadFile(filepath.Join(stopped, sweep.TrialsName))
	if err != nil || !bytes.Equal(whole.Bytes(), text) || !bytes.Equal(whole.Bytes(), again.Bytes()) {
		t.Errorf("the rows are not those of one run: %v", err)
	}
}

// TestSweepCommandRepeats: the command line in sweep.json makes the same trials.
func TestSweepCommandRepeats(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "one")
	var stdout, stderr bytes.Buffer
	line := []string{"sweep", "--to", "20ms", "--from=0s", "--step", "10ms", "--trials", "2", "--loss", "0.2", "-o", dir, "--arm", "a=--engine connect --rt", "--arm", "b=", "--csv", filepath.Join(t.TempDir(), "x.csv")}
	if code := run(t.Context(), line, strings.NewReader(""), &stdout, &stderr); code != exitDone {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	m, _, err := sweep.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if m.Command[0] != "synpunch" || strings.Contains(strings.Join(m.Command, " "), "csv") {
		t.Errorf("%q", m.Command)
	}
	var rows bytes.Buffer
	if code := run(t.Context(), append(m.Command[1:], "--jsonl", "-"), strings.NewReader(""), &rows, &stderr); code != exitDone {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	if text, err := os.ReadFile(filepath.Join(dir, sweep.TrialsName)); err != nil || !bytes.Equal(text, rows.Bytes()) {
		t.Errorf("other rows: %v", err)
	}
}

// TestSweepLive runs the command as a person does: it makes its own namespaces.
func TestSweepLive(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "live")
	line := append(commandHere(t, "sweep"), "--world", "live", "--delay", "5ms", "--from", "0s", "--to", "20ms", "--step", "20ms", "--trials", "2",
		"--nat-a", "linux-rst", "--nat-b", "linux-rst", "--bytes", "100", "--captures", "1", "-o", dir, "--json")
	cmd := exec.CommandContext(t.Context(), line[0], line[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState.ExitCode() == exitMissing && strings.Contains(stderr.String(), netns.ErrNoUserNamespace.Error()[:20]) {
		testenv.Skip(t, stderr.String())
	}
	var sum sweep.Summary
	if jerr := json.Unmarshal(stdout.Bytes(), &sum); err != nil || jerr != nil {
		t.Fatalf("%v, %v: %s", err, jerr, stderr.String())
	}
	if sum.Done != 4 || sum.Cells[0].Established.Count != 2 || sum.Cells[1].Established.Count != 2 || sum.Overhead.N != 4 {
		t.Errorf("%s", stdout.String())
	}
	_, rows, err := sweep.Read(dir)
	if err != nil || len(rows) != 4 {
		t.Fatalf("%d rows: %v", len(rows), err)
	}
	for _, r := range rows {
		if kept := r.Trial == 0; kept != (r.Capture != "") {
			t.Errorf("trial %d: capture %q", r.Trial, r.Capture)
		} else if kept {
			var out bytes.Buffer
			if code := run(t.Context(), []string{"analyze", filepath.Join(dir, r.Capture)}, strings.NewReader(""), &out, &stderr); code != exitDone || !strings.Contains(out.String(), "simultaneous open") {
				t.Errorf("exit code %d: %s%s", code, out.String(), stderr.String())
			}
		}
	}
}

// TestSweepSleepers: live hosts that sleep are processes of this program, on which the summary
// has nothing to say, and the command is not in the list of commands.
func TestSweepSleepers(t *testing.T) {
	line := append(commandHere(t, "sweep"), "--world", "live", "--delay", "20ms", "--from", "0s", "--to", "0s", "--step", "1ms", "--trials", "2",
		"--nat-a", "linux-rst", "--nat-b", "linux-rst", "--engine", "connect", "--timer", "sleep", "--bytes", "100")
	cmd := exec.CommandContext(t.Context(), line[0], line[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState.ExitCode() == exitMissing && strings.Contains(stderr.String(), netns.ErrNoUserNamespace.Error()[:20]) {
		testenv.Skip(t, stderr.String())
	}
	if text := stdout.String(); err != nil || !strings.Contains(text, "2 of 2 trials") || strings.Contains(text, "wake together") || strings.Contains(text, "error") {
		t.Errorf("%v: %s%s", err, text, stderr.String())
	}
	var help bytes.Buffer
	if code := run(t.Context(), []string{"--help"}, strings.NewReader(""), &help, &stderr); code != exitDone || strings.Contains(help.String(), stockProgram[1]) {
		t.Errorf("exit code %d: %s", code, help.String())
	}
}
