package punch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/synpunch/synpunch/capture"
)

// recordSnaplen is what a recording keeps of each packet: all headers and the
// first bytes of the data.
const recordSnaplen = 192

// drainTime is longer than a ring block's timeout.
const drainTime = 30 * time.Millisecond

// Recording writes the packets of a plan's flow to a pcapng file, with a comment
// on each of our handshake packets, until it is closed.
type Recording struct {
	live   *capture.Live
	file   *os.File
	cancel context.CancelFunc
	done   chan error
}

// Record starts to capture the flow of a resolved plan into the pcapng file
// path. Each packet is in the file as soon as it is read, so that a killed
// process leaves a whole file. Errors wrap ErrMissing when CAP_NET_RAW is not there.
func Record(plan Plan, path string) (*Recording, error) {
	filter, err := plan.filter()
	if err != nil {
		return nil, err
	}
	live, err := capture.Open(plan.Interface, &capture.Config{Filter: filter, Mode: capture.ModeEvidence, Snaplen: recordSnaplen})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMissing, err)
	}
	f, err := os.Create(path)
	if err != nil {
		live.Close()
		return nil, fmt.Errorf("capture file: %w", err)
	}
	w, err := capture.NewWriter(f, capture.Interface{
		Name: plan.Interface, OS: "Linux", Link: capture.LinkRaw, Snaplen: recordSnaplen,
		Filter: filterWords(&plan),
	})
	if err != nil {
		live.Close()
		f.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &Recording{live: live, file: f, cancel: cancel, done: make(chan error, 1)}
	go func() { r.done <- r.run(ctx, w, newCommenters(plan)) }()
	return r, nil
}

// filterWords describes the filter to whoever opens the file.
func filterWords(p *Plan) string {
	if p.Strategy == Fan {
		return fmt.Sprintf("tcp and host %v and host %v, without the SYNs of the fan-out and with a sample of RSTs, or icmp about it", p.Local.Addr(), p.Remote.Addr())
	}
	words := fmt.Sprintf("tcp and host %v and host %v and port %d", p.Local.Addr(), p.Remote.Addr(), p.Local.Port())
	if !p.uncertain() {
		words += fmt.Sprintf(" and port %d", p.Remote.Port())
	}
	return words + ", or icmp about it"
}

func (r *Recording) run(ctx context.Context, w *capture.Writer, c *commenters) error {
	err := r.copy(ctx, w, c)
	if errors.Is(err, context.Canceled) {
		// What came before Close may still be in the kernel's block.
		rest, cancel := context.WithTimeout(context.Background(), drainTime)
		defer cancel()
		err = r.copy(rest, w, c)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	received, dropped, err := r.live.Stats()
	if err != nil {
		return err
	}
	return w.WriteStats(0, time.Now(), received, dropped)
}

// copy writes packets until an error, which may be that of ctx.
func (r *Recording) copy(ctx context.Context, w *capture.Writer, c *commenters) error {
	for {
		p, err := r.live.Next(ctx)
		if err != nil {
			return err
		}
		p.Interface, p.Comment = 0, c.comment(&p)
		if err := w.WritePacket(p); err != nil {
			return err
		}
	}
}

// Close ends the recording after the packets that are already there.
func (r *Recording) Close() error {
	r.cancel()
	return errors.Join(<-r.done, r.live.Close(), r.file.Close())
}
