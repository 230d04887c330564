package ntp

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/synpunch/synpunch/internal/datagram"
)

// FuzzAnswer: whatever a server answers, the client has a measurement that holds together, or
// an error.
func FuzzAnswer(f *testing.F) {
	base := time.Unix(1767225600, 0)
	good := Packet{Version: 4, Mode: 4, Stratum: 2, Precision: -20, Receive: At(base.Add(time.Millisecond)), Transmit: At(base.Add(time.Millisecond))}
	f.Add(good.Append(nil), int64(2e6))
	f.Add(bytes.Repeat([]byte{0xff}, 48), int64(0))
	f.Add(make([]byte, 48), int64(1))
	f.Fuzz(func(t *testing.T, b []byte, took int64) {
		var p Packet
		if p.Parse(b) != nil {
			return
		}
		cfg := Config{}
		cfg.defaults()
		a := asker{cfg: &cfg, m: &Measurement{}}
		back := base.Add(time.Duration(took % int64(time.Minute)).Abs())
		if err := a.take(&p, base, back, datagram.Packet{At: back}); err != nil {
			if len(a.samples) != 0 {
				t.Fatalf("a sample in spite of %v", err)
			}
			a.failed = err
		}
		err := a.finish()
		if (err == nil) != (len(a.samples) == 1) || err != nil && !errors.Is(err, ErrNoAnswer) {
			t.Fatalf("%d samples, %v", len(a.samples), err)
		}
		if err == nil && (a.m.Offset.Bound < 0 || a.m.Delay < 0 || a.m.Root < 0 || len(a.m.RefID) > 15) {
			t.Fatalf("%+v", a.m)
		}
	})
}
