package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/synpunch/synpunch/internal/netns"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab/live"
	"github.com/synpunch/synpunch/punch"
)

// runDemoCommand runs the demo as a person does: in a process that makes its own
// namespaces. It returns what it printed and the exit code.
func runDemoCommand(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	line := append(commandHere(t, "demo"), args...)
	cmd := exec.CommandContext(t.Context(), line[0], line[1:]...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if code = cmd.ProcessState.ExitCode(); code == exitMissing && strings.Contains(errs.String(), netns.ErrNoUserNamespace.Error()[:20]) {
		testenv.Skip(t, errs.String())
	}
	return out.String(), errs.String(), code
}

// repeatDemo runs a demo again as long as this machine could not send on time.
func repeatDemo(t *testing.T, args ...string) (res demoResult, code int) {
	t.Helper()
	for range maxRepeats {
		stdout, stderr, c := runDemoCommand(t, append([]string{"--json", "--capture", t.TempDir()}, args...)...)
		code, res = c, demoResult{}
		if err := json.Unmarshal([]byte(stdout), &res); err != nil {
			t.Fatalf("%v in %q; standard error: %s", err, stdout, stderr)
		}
		if late := max(lateness(&live.SideResult{Report: res.A}), lateness(&live.SideResult{Report: res.B})); late <= onTime {
			break
		}
	}
	return res, code
}

// TestDemoKept: Ctrl-C takes a lab down that was left up, and says how the punch went.
func TestDemoKept(t *testing.T) {
	line := commandHere(t, "demo")
	cmd := exec.CommandContext(t.Context(), line[0], append(line[1:], "--keep", "--json", "--capture", t.TempDir())...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	up := false
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), "host-b") && !up {
			up = true
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Error(err)
			}
		}
	}
	err = cmd.Wait()
	if strings.Contains(said.String(), netns.ErrNoUserNamespace.Error()[:20]) {
		testenv.Skip(t, said.String())
	}
	if err != nil || !up {
		t.Errorf("%v, lab up: %v; standard error: %s", err, up, said.String())
	}
}

func TestDemo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "dir")
	res, code := repeatDemo(t, "--capture", dir)
	if code != exitDone || res.Outcome != punch.Established || !res.Crossed || res.BytesVerified != 2*demoBytes {
		t.Errorf("exit code %d, outcome %s, crossed %v, %d bytes verified; notes %q", code, res.Outcome, res.Crossed, res.BytesVerified, res.Notes)
	}
	if res.MarginNS == nil || *res.MarginNS < 5e6 || *res.MarginNS > 25e6 {
		t.Errorf("margin %v ns, want about 20 ms", res.MarginNS)
	}
	if res.A == nil || res.B == nil || len(res.A.Events) < 4 || len(res.B.Events) < 4 {
		t.Errorf("the reports are not whole: %+v, %+v", res.A, res.B)
	}
	for _, name := range []string{"a.pcapng", "b.pcapng", "a.json", "b.json"} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"analyze", filepath.Join(dir, "a.pcapng"), filepath.Join(dir, "b.pcapng")}, nil, &out, &errs); code != exitDone {
		t.Errorf("analyze of both captures: exit code %d, %s", code, errs.String())
	}
	if !strings.Contains(out.String(), "simultaneous open") {
		t.Errorf("analyze says:\n%s", out.String())
	}
}

// TestDemoText has the ladder and the verdict on standard output, the progress
// elsewhere.
func TestDemoText(t *testing.T) {
	stdout, stderr, code := runDemoCommand(t, "--capture", t.TempDir(), "--engine", "repair,park", "--nat-a", "none", "--delay", "5ms", "--ascii")
	if code != exitDone {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	for _, want := range []string{"A ran    synpunch punch --local", "nat-a", "SYN-ACK 0 ack 1", "verdict  ", "engine repair / park; 2097152 bytes verified", "captures "} {
		if !strings.Contains(stdout, want) {
			t.Errorf("standard output does not have %q:\n%s", want, stdout)
		}
	}
	for _, r := range stdout {
		if r > 126 && r != 'µ' {
			t.Errorf("--ascii printed %q", r)
			break
		}
	}
	if !strings.Contains(stderr, "lab      A ") || !strings.Contains(stderr, "instant  ") {
		t.Errorf("standard error: %s", stderr)
	}
}

// TestDemoFails has exit code 1 and says why.
func TestDemoFails(t *testing.T) {
	res, code := repeatDemo(t, "--engine", "connect", "--nat-a", "linux-rst", "--nat-b", "linux-rst", "--skew", "30ms")
	if code != exitFailed || res.Outcome != punch.Refused || res.BytesVerified != 0 {
		t.Errorf("exit code %d, outcome %s, %d bytes; want 1, refused, 0", code, res.Outcome, res.BytesVerified)
	}
}

// TestDemoScenario loads a file with faults.
func TestDemoScenario(t *testing.T) {
	file := filepath.Join(t.TempDir(), "s.yaml")
	text := "family: ip6\na: {nat: firewall}\nb: {nat: firewall}\nlink:\n  ab: 5ms\n  ba: 15ms\n  faults:\n    - {direction: ab, packet: 2, action: lose}\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	res, code := repeatDemo(t, "--scenario", file)
	if code != exitDone || res.Outcome != punch.Established || res.Scenario.Family != "ip6" || res.Scenario.DelayABNS != 5e6 || len(res.Scenario.Faults) != 1 {
		t.Errorf("exit code %d, outcome %s, scenario %+v, notes %q", code, res.Outcome, res.Scenario, res.Notes)
	}
}

// TestDemoModels mixes NATs of the kernel with models, one behind the other, and says
// what a third party saw.
func TestDemoModels(t *testing.T) {
	res, code := repeatDemo(t, "--nat-a", "linux+cgn", "--nat-b", "model:linux-rst", "--engine", "repair,park", "--delay", "40ms")
	if code != exitDone || res.Outcome != punch.Established || !res.Crossed || res.BytesVerified != 2*demoBytes {
		t.Errorf("exit code %d, outcome %s, crossed %v, %d bytes verified; notes %q", code, res.Outcome, res.Crossed, res.BytesVerified, res.Notes)
	}
	if res.AAimsAt != "203.0.113.2:50000" || !strings.HasPrefix(res.BAimsAt, "198.51.100.2:") || res.BAimsAt == "198.51.100.2:40000" {
		t.Errorf("A aims at %s, B at %s", res.AAimsAt, res.BAimsAt)
	}
	if res.Scenario.NATA != "linux+cgn" || res.Scenario.NATB != "model:linux-rst" {
		t.Errorf("scenario %+v", res.Scenario)
	}
	for _, c := range []struct {
		args []string
		code int
		says []string
	}{
		{[]string{"sequential"}, exitDone, []string{"foreseen A as 198.51.100.2:"}},
		{[]string{"random"}, exitFailed, []string{"seen     A as 198.51.100.2:", "note     random takes another port for each destination"}},
		{[]string{"random", "--nat-b", "eim-eif", "--learn-port"}, exitDone, []string{"seen     A as 198.51.100.2:"}},
	} {
		stdout, stderr, code := runDemoCommand(t, append([]string{"--capture", t.TempDir(), "--timeout", "1s", "--nat-a"}, c.args...)...)
		if code != c.code {
			t.Errorf("%q: exit code %d: %s", c.args, code, stderr)
		}
		for _, want := range c.says {
			if !strings.Contains(stdout, want) {
				t.Errorf("%q: standard output does not have %q:\n%s", c.args, want, stdout)
			}
		}
	}
}
