package sim

import (
	"io"

	"github.com/synpunch/synpunch/lab/lanes"
)

// Capture writes the packets of a trial to a pcapng file with an interface for each
// lane: Config.Packet = c.Packet.
type Capture struct {
	w   *lanes.Writer
	err error
}

// NewCapture begins a file.
func NewCapture(w io.Writer) (*Capture, error) {
	l, err := lanes.NewWriter(w, "virtual time")
	if err != nil {
		return nil, err
	}
	return &Capture{w: l}, nil
}

// Packet writes one packet. After an error it does nothing.
func (c *Capture) Packet(p Packet) {
	if c.err == nil {
		c.err = c.w.Write(lanes.Packet{Lane: p.Lane.String(), Time: p.Time, Out: p.Out, Data: p.Data})
	}
}

// Err is the first error of Packet; nil when all is written.
func (c *Capture) Err() error { return c.err }
