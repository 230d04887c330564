package live

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/synpunch/synpunch/punch"
)

// command runs the real command for one end: stream(other side) comes out of it, its
// own goes in.
func (t *Trial) command(ctx context.Context, e *end) SideResult {
	report := filepath.Join(t.Dir, e.name+".json")
	args := append(t.Command[1:len(t.Command):len(t.Command)],
		"--local", e.local.String(), "--remote", e.aim.String(),
		"--at", strconv.FormatInt(e.at.UnixNano(), 10), "--report", report)
	if e.Engine != "" {
		args = append(args, "--engine", string(e.Engine))
	}
	if e.Strategy != "" {
		args = append(args, "--strategy", string(e.Strategy))
	}
	if ttl := e.primeTTL(); ttl > 0 && !slices.Contains(e.Args, "--ttl") {
		args = append(args, "--ttl", strconv.Itoa(int(ttl)))
	}
	if t.Timeout > 0 {
		args = append(args, "--timeout", t.Timeout.String())
	}
	res := SideResult{}
	if t.Capture {
		res.Capture = filepath.Join(t.Dir, e.name+".pcapng")
		args = append(args, "--capture", res.Capture)
	}
	args = append(args, e.Args...)
	res.Command = append([]string{t.Command[0]}, args...)
	os.Remove(report)

	cmd := exec.CommandContext(ctx, t.Command[0], args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 2 * time.Second
	sink := newVerifier(e.other(), t.Bytes)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = io.LimitReader(stream(e.name), t.Bytes), sink, &stderr
	err := e.host.Start(cmd)
	if err == nil {
		if e.Started != nil {
			e.Started(cmd)
		}
		err = cmd.Wait()
	}
	res.Stderr = stderr.String()
	res.Exit = -1
	if cmd.ProcessState != nil {
		res.Exit = cmd.ProcessState.ExitCode()
	}
	res.Report, res.Err = readReport(report)
	if err != nil {
		res.Err = fmt.Errorf("%s: %w: %s", e.name, err, strings.TrimSpace(res.Stderr))
		return res
	}
	res.Bytes, err = sink.verified()
	if res.Err == nil {
		res.Err = err
	}
	return res
}

// other names the other end.
func (e *end) other() string { return map[string]string{"a": "b", "b": "a"}[e.name] }

// primeTTL is that of a priming SYN which is to end at the own provider, if it is not
// the default; a chain of NATs takes one more for each.
func (e *end) primeTTL() uint8 {
	if e.Strategy != punch.Prime || len(e.host.chain) == 1 {
		return 0
	}
	return punch.PrimeTTL + uint8(len(e.host.chain)-1)
}

func readReport(path string) (*punch.Report, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := new(punch.Report)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}
