package handoff

import "github.com/synpunch/synpunch/rawtcp"

// Rounds is how often the drop filter was on in Install.
func (r *Repair) Rounds() int { return r.rounds }

// Unfiltered calls fn while the drop filter is off, and waits until the receive
// queue has come to end.
func (r *Repair) Unfiltered(end rawtcp.Seq, fn func() error) error {
	if err := detachDrop(r.fd); err != nil {
		return err
	}
	if err := fn(); err != nil {
		return err
	}
	for {
		seq, err := queueSeq(r.fd)
		if err != nil {
			return err
		}
		if seq == end {
			return attachDrop(r.fd)
		}
	}
}
