//go:build !linux

package rawtcp

import "context"

// blast cannot be made outside Linux: openBlast says so.
type blast struct{ way Path }

func openBlast(context.Context, *Fan, *BlastConfig) (*Blast, error) { return nil, errNoRawSockets }

func (blast) send(context.Context, uint64, uint64) (uint64, error) { return 0, errNoRawSockets }

func (blast) close() error { return nil }
