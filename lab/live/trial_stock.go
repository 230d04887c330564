package live

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/punch"
)

// stockDoze is how long before the instant a stock attempt begins its time.Sleep, which
// nothing can interrupt. Chosen by us.
const stockDoze = time.Second

// stock makes the attempt of one end as applications do.
func (t *Trial) stock(ctx context.Context, e *end) SideResult {
	attempt := t.stockInside
	if e.process != nil {
		attempt = t.stockElsewhere
	}
	var res SideResult
	outcome, err := attempt(ctx, e, &res)
	packets := e.packets()
	res.Report = e.stockReport(outcome, err, packets)
	if t.Capture {
		res.Capture = filepath.Join(t.Dir, e.name+".pcapng")
		res.Err = errors.Join(res.Err, writeHost(res.Capture, e.host.Iface, packets))
	}
	if res.Err != nil {
		res.Exit, res.Err = 1, fmt.Errorf("%s: %w", e.name, res.Err)
	}
	return res
}

// stockTimeout is that of the Dialer.
func (t *Trial) stockTimeout() time.Duration { return cmp.Or(t.Timeout, punch.DefaultTimeout) }

// stockInside makes the attempt in this process.
func (t *Trial) stockInside(ctx context.Context, e *end, res *SideResult) (punch.Outcome, error) {
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(e.local), Timeout: t.stockTimeout()}
	raiseProcs(endProcs)
	defer lowerProcs(endProcs)
	var conn net.Conn
	err := doze(ctx, e.at.Add(-stockDoze))
	if err == nil {
		// The goroutine is bound to its thread, which is in the host's namespace; BenchmarkSleep
		// says what that costs.
		err = e.host.Do(func() (err error) {
			time.Sleep(time.Until(e.at))
			conn, err = dialer.DialContext(ctx, "tcp", e.aim.String())
			return err
		})
	}
	res.Err = err
	tcp, _ := conn.(*net.TCPConn)
	t.finish(ctx, e, tcp, res)
	return stockOutcome(err), err
}

// doze waits for an instant, or the end of ctx, whose error it returns.
func doze(ctx context.Context, at time.Time) error {
	left := time.Until(at)
	if left <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// stockReport is the report of a stock attempt, which ended with err.
func (e *end) stockReport(outcome punch.Outcome, err error, packets []capture.Packet) *punch.Report {
	note := "time.Sleep and net.Dialer"
	if e.process != nil {
		note += ", in a process of the host"
	}
	ev := punch.Evidence{Outcome: outcome, Packets: packets,
		Notes: []string{note}, Host: punch.Host{OS: runtime.GOOS, Kernel: kernelRelease()}}
	if err != nil {
		ev.Error = err.Error()
	}
	return ev.Report(punch.Plan{Local: e.local, Remote: e.aim, At: e.at, Engine: punch.Connect, Strategy: punch.Cross})
}

// packets are those of the end's flow, as its host saw them since ResetCount.
func (e *end) packets() []capture.Packet {
	var list []capture.Packet
	for _, ev := range e.host.net.hostEvents() {
		if ev.Where == e.host.Name && ofFlow(ev.Data, e.local, e.aim) {
			list = append(list, ev.Packet)
		}
	}
	return list
}

// writeHost writes the packets of a host to a pcapng file.
func writeHost(path, iface string, packets []capture.Packet) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("capture file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w, err := capture.NewWriter(f, capture.Interface{Name: iface, OS: runtime.GOOS, Link: capture.LinkRaw})
	if err != nil {
		return err
	}
	for _, p := range packets {
		if err := w.WritePacket(p); err != nil {
			return err
		}
	}
	return nil
}
