package live

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/synpunch/synpunch/punch"
)

// stockPhase is the time over which the beginnings of sleeps are drawn, that of one round of the Go
// runtime's poller: it sleeps for whole milliseconds from when it began, so that
// two processes that begin together wake together. Two machines never begin so.
const stockPhase = time.Millisecond

// stockGrace is how long a process that has closed its output may take to end. Chosen by us.
const stockGrace = time.Second

// stockPool keeps the processes that make the stock attempts of a lab.
type stockPool struct {
	program []string // Config.Stock

	mu      sync.Mutex
	idle    map[*Host][]*stockProcess
	running sync.WaitGroup
}

// stockProcess makes stock attempts in a host, one at a time.
type stockProcess struct {
	host   *Host
	cmd    *exec.Cmd
	enc    *json.Encoder
	dec    *json.Decoder
	stderr headOf
	gone   chan struct{} // closed once the process has ended, and end says how
	end    error
	broken bool // it is of no use any more
}

// take returns a process of the host that nobody uses, a new one if need be.
func (s *stockPool) take(ctx context.Context, h *Host) (*stockProcess, error) {
	s.mu.Lock()
	if list := s.idle[h]; len(list) > 0 {
		p := list[len(list)-1]
		s.idle[h] = list[:len(list)-1]
		s.mu.Unlock()
		return p, nil
	}
	p, err := s.start(h)
	s.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("process for stock attempts: %w", err)
	}
	_, err = p.listen(ctx)
	return p, err
}

// start starts a process. The caller has locked the pool.
func (s *stockPool) start(h *Host) (*stockProcess, error) {
	cmd := exec.Command(s.program[0], s.program[1:]...)
	p := &stockProcess{host: h, cmd: cmd, gone: make(chan struct{})}
	ownGroup(cmd)
	cmd.Stderr = &p.stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.enc, p.dec = json.NewEncoder(in), json.NewDecoder(out)
	if err := h.Start(cmd); err != nil {
		return nil, err
	}
	s.running.Go(func() {
		defer close(p.gone)
		p.end = cmd.Wait()
	})
	return p, nil
}

// give takes a process back.
func (s *stockPool) give(p *stockProcess) {
	if p == nil || p.broken {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle == nil {
		s.idle = map[*Host][]*stockProcess{}
	}
	s.idle[p.host] = append(s.idle[p.host], p)
}

// wait waits for the end of all processes, once no more can be started.
func (s *stockPool) wait() {
	s.mu.Lock() // one that is being started is among them
	s.idle = nil
	s.mu.Unlock()
	s.running.Wait()
}

// ask sends a request and returns the answer.
func (p *stockProcess) ask(ctx context.Context, request any) (stockReply, error) {
	if err := p.enc.Encode(request); err != nil {
		return stockReply{}, p.died(ctx, err)
	}
	return p.listen(ctx)
}

// listen returns the next answer. What goes on at the end of ctx is ended with the process.
func (p *stockProcess) listen(ctx context.Context) (r stockReply, err error) {
	defer context.AfterFunc(ctx, p.kill)()
	if err = p.dec.Decode(&r); err != nil {
		err = p.died(ctx, err)
	}
	return r, err
}

// kill ends the process, which may have ended just now.
func (p *stockProcess) kill() { _ = p.cmd.Process.Kill() }

// died ends a process that cannot be talked to because of err, and says what became of it.
func (p *stockProcess) died(ctx context.Context, err error) error {
	p.broken = true
	select {
	case <-p.gone: // it says itself how
	case <-ctx.Done():
	case <-time.After(stockGrace):
	}
	p.kill()
	<-p.gone
	if ctx.Err() != nil {
		return ctx.Err()
	}
	how := "exit status 0"
	if p.end != nil {
		how = p.end.Error()
	}
	if text := strings.TrimSpace(p.stderr.String()); text != "" {
		how += ": " + text
	}
	return fmt.Errorf("the process of host %s for stock attempts (%s, %d) ended: %s: %w",
		p.host.Name, strings.Join(p.cmd.Args, " "), p.cmd.Process.Pid, how, err)
}

// stockElsewhere makes the attempt in the end's process.
func (t *Trial) stockElsewhere(ctx context.Context, e *end, res *SideResult) (punch.Outcome, error) {
	q := stockRequest{Local: e.local, Remote: e.aim, At: e.at.UnixNano(), Timeout: t.stockTimeout()}
	pause(rand.N(stockPhase))
	r, err := e.process.ask(ctx, &q)
	outcome := punch.Failed
	if err == nil {
		outcome, err = r.Outcome, r.err()
	}
	if t.Abort {
		e.over()
	}
	if res.Err = err; err != nil {
		return outcome, err
	}
	if r, err = e.process.ask(ctx, &stockFinish{Abort: t.Abort, Name: e.name, Other: e.other(), Bytes: t.Bytes}); err == nil {
		err = r.err()
	}
	res.Bytes, res.Err = r.Bytes, err
	return outcome, nil
}

// headOf keeps the beginning of what is written to it.
type headOf struct{ bytes.Buffer }

// headLimit is enough for what a Go program says before it dies. Chosen by us.
const headLimit = 2048

func (h *headOf) Write(b []byte) (int, error) {
	h.Buffer.Write(b[:min(len(b), headLimit-h.Len())])
	return len(b), nil
}
