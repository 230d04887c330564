package live

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/punch"
)

// Trial is one punch between the two hosts of a lab, made by the real command.
type Trial struct {
	// Command is the synpunch program and the words that stand before its flags,
	// such as {"/usr/bin/synpunch", "punch"}.
	Command []string
	// At is the agreed instant; zero means as soon as both processes can be ready.
	At time.Time
	// Skew moves B's instant: positive, B is late.
	Skew time.Duration
	// Bytes is how much each side sends to the other over the established
	// connection, to be compared; zero sends nothing.
	Bytes int64
	// Timeout is that of both attempts; zero means punch.DefaultTimeout.
	Timeout time.Duration
	// Dir gets the reports and captures: a.json, b.json, a.pcapng, b.pcapng. It must exist.
	Dir string
	// Capture writes the pcapng files.
	Capture bool
	// A and B are what the sides do differently.
	A, B Side
}

// Side is one end of a Trial.
type Side struct {
	Engine   punch.Engine
	Strategy punch.Strategy
	Port     uint16   // the local port; zero means 40000 for A, 50000 for B
	Args     []string // more flags for the command
	// Started is called with the running process, if not nil.
	Started func(*exec.Cmd)
}

// TrialResult is what a Trial gave.
type TrialResult struct {
	At   time.Time // the agreed instant: A's
	A, B SideResult
	// Verified is how many bytes arrived at both ends together, if all that was
	// sent arrived there unchanged; less than 2 x Trial.Bytes otherwise.
	Verified int64
	// Meeting says how the SYNs met between the NATs; nil when they did not both
	// come there.
	Meeting *lab.Meeting
}

// Connected reports whether both ends have an established connection over
// which every byte arrived.
func (r *TrialResult) Connected(bytes int64) bool {
	return r.A.established() && r.B.established() && r.Verified == 2*bytes
}

// SideResult is what one end gave.
type SideResult struct {
	Report  *punch.Report // nil when the command wrote none
	Command []string      // as it was run
	Stderr  string
	Exit    int   // exit code, -1 when a signal ended it
	Bytes   int64 // that arrived unchanged from the beginning
	Err     error // of running the command or of the bytes
	Capture string
}

func (s *SideResult) established() bool {
	return s.Report != nil && s.Report.Outcome == punch.Established
}

// trialLead is the time from the start of the processes to the instant, chosen
// by us: both must have opened their sockets by then, on a busy machine too.
const trialLead = 500 * time.Millisecond

// Lead is how long before the instant the trial should be started.
func (t *Trial) Lead() time.Duration {
	if t.A.Strategy == punch.Prime || t.B.Strategy == punch.Prime {
		return trialLead + punch.PrimeLead
	}
	return trialLead
}

// Run makes the trial. Trials may run at the same time in one lab, with ports of
// their own; one that uses ports again wants Lab.ResetCount before. The error is about the lab; that a punch failed is a
// result. Both processes have ended when Run returns; ctx ends them early.
func (t *Trial) Run(ctx context.Context, l *Lab) (*TrialResult, error) {
	if len(t.Command) == 0 {
		return nil, errors.New("trial: no command")
	}
	at := t.At
	if at.IsZero() {
		at = time.Now().Add(t.Lead())
	}
	portA, portB := t.A.Port, t.B.Port
	if portA == 0 {
		portA = 40000
	}
	if portB == 0 {
		portB = 50000
	}
	r := &TrialResult{At: at}
	var wg sync.WaitGroup
	wg.Go(func() {
		r.A = t.side(ctx, l.A, &t.A, "a", portA, netip.AddrPortFrom(l.B.Public, portB), at)
	})
	wg.Go(func() {
		r.B = t.side(ctx, l.B, &t.B, "b", portB, netip.AddrPortFrom(l.A.Public, portA), at.Add(t.Skew))
	})
	wg.Wait()
	if r.A.Err == nil && r.B.Err == nil {
		r.Verified = r.A.Bytes + r.B.Bytes
	}
	for _, m := range l.Meetings() {
		if m.A.Addr() == l.A.Public && m.A.Port() == portA && m.B.Port() == portB {
			r.Meeting = &m.Meeting
		}
	}
	return r, ctx.Err()
}

// side runs one end: stream(other side) comes out of it, its own goes in.
func (t *Trial) side(ctx context.Context, h *Host, s *Side, name string, port uint16, remote netip.AddrPort, at time.Time) SideResult {
	report := filepath.Join(t.Dir, name+".json")
	args := append(t.Command[1:len(t.Command):len(t.Command)],
		"--local", netip.AddrPortFrom(h.Addr, port).String(), "--remote", remote.String(),
		"--at", strconv.FormatInt(at.UnixNano(), 10), "--report", report)
	if s.Engine != "" {
		args = append(args, "--engine", string(s.Engine))
	}
	if s.Strategy != "" {
		args = append(args, "--strategy", string(s.Strategy))
	}
	if t.Timeout > 0 {
		args = append(args, "--timeout", t.Timeout.String())
	}
	res := SideResult{}
	if t.Capture {
		res.Capture = filepath.Join(t.Dir, name+".pcapng")
		args = append(args, "--capture", res.Capture)
	}
	args = append(args, s.Args...)
	res.Command = append([]string{t.Command[0]}, args...)
	os.Remove(report)

	cmd := exec.CommandContext(ctx, t.Command[0], args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 2 * time.Second
	other := map[string]string{"a": "b", "b": "a"}[name]
	sink := newVerifier(other, t.Bytes)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = io.LimitReader(stream(name), t.Bytes), sink, &stderr
	err := h.Start(cmd)
	if err == nil {
		if s.Started != nil {
			s.Started(cmd)
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
		res.Err = fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(res.Stderr))
		return res
	}
	res.Bytes, err = sink.verified()
	if res.Err == nil {
		res.Err = err
	}
	return res
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

// stream is the endless byte stream of a side: the same in every trial,
// different from the other side's.
func stream(name string) io.Reader {
	return rand.NewChaCha8(sha256.Sum256([]byte("synpunch trial " + name)))
}

// verifier compares what arrives with what the other side sends.
type verifier struct {
	want   io.Reader
	hash   hash.Hash // of what arrived
	n, len int64
}

func newVerifier(name string, n int64) *verifier {
	return &verifier{want: io.LimitReader(stream(name), n), hash: sha256.New(), len: n}
}

func (v *verifier) Write(p []byte) (int, error) {
	v.n += int64(len(p))
	return v.hash.Write(p)
}

// verified is the number of bytes, all of them right.
func (v *verifier) verified() (int64, error) {
	if v.n != v.len {
		return 0, fmt.Errorf("%d of %d bytes arrived", v.n, v.len)
	}
	want := sha256.New()
	if _, err := io.Copy(want, v.want); err != nil {
		return 0, err
	}
	if !bytes.Equal(want.Sum(nil), v.hash.Sum(nil)) {
		return 0, errors.New("the bytes that arrived are not those that were sent")
	}
	return v.n, nil
}
