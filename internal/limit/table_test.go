package limit_test

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/synpunch/synpunch/internal/limit"
)

var client = netip.MustParseAddr("192.0.2.1")

func TestAllow(t *testing.T) {
	base := time.Now()
	tb := limit.New(10, 5, base)
	take := func(at time.Duration, want int) {
		t.Helper()
		n := 0
		for tb.Allow(client, base.Add(at)) {
			if n++; n > 100 {
				break
			}
		}
		if n != want {
			t.Errorf("after %v: %d tokens, want %d", at, n, want)
		}
	}
	take(0, 5)                    // a full bucket
	take(99*time.Millisecond, 0)  // not yet
	take(100*time.Millisecond, 1) // one token
	take(350*time.Millisecond, 2)
	take(time.Hour, 5) // no more than the bucket holds
	if !tb.Allow(netip.MustParseAddr("192.0.2.2"), base) {
		t.Error("another client has no token")
	}
}

func TestNetworks(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"2001:db8::1", "2001:db8::ffff:1", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"fe80::1%eth0", "fe80::2", true},
	} {
		if got := limit.Network(netip.MustParseAddr(c.a)) == limit.Network(netip.MustParseAddr(c.b)); got != c.same {
			t.Errorf("%s and %s one client: %v, want %v", c.a, c.b, got, c.same)
		}
	}
}

func TestNoLimit(t *testing.T) {
	tb := limit.New(0, 0, time.Now())
	for range 1000 {
		if !tb.Allow(client, time.Time{}) {
			t.Fatal("refused without a limit")
		}
	}
}

// TestConcurrent: no token is given twice.
func TestConcurrent(t *testing.T) {
	base := time.Now()
	tb := limit.New(1, 1000, base)
	var got atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				if tb.Allow(client, base) {
					got.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if got.Load() != 1000 {
		t.Errorf("%d tokens, want 1000", got.Load())
	}
}

func BenchmarkAllow(b *testing.B) {
	tb := limit.New(1e9, 100, time.Now())
	now := time.Now()
	for b.Loop() {
		tb.Allow(client, now)
	}
}
