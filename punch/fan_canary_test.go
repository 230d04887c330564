package punch

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// TestCanary: a NAT that stops to make mappings is noticed within a second, one that
// loses a packet now and then is not.
func TestCanary(t *testing.T) {
	for _, c := range []struct {
		name   string
		passes func(number int, at time.Duration) bool
		ends   time.Duration // 0: never
	}{
		{"an open NAT", func(int, time.Duration) bool { return true }, 0},
		{"two of three lost", func(n int, _ time.Duration) bool { return n < canaryFirst || n%3 == 0 }, 0},
		{"full after 100 ms", func(_ int, at time.Duration) bool { return at < 100*time.Millisecond }, 1200 * time.Millisecond},
		{"full after five seconds", func(_ int, at time.Duration) bool { return at < 5*time.Second }, 5*time.Second + 2*time.Second},
	} {
		start := time.Unix(1_800_000_000, 0)
		var k canary
		for range canaryFirst {
			k.left(start)
			k.back()
		}
		if !k.works() {
			t.Fatal("the canary does not work")
		}
		var ended time.Duration
		var answerAt time.Time
		for now := start; ended == 0 && now.Before(start.Add(30*time.Second)); now = now.Add(time.Millisecond) {
			if !answerAt.IsZero() && !now.Before(answerAt) {
				k.back()
				answerAt = time.Time{}
			}
			due, err := k.due(now, 7)
			if err != nil {
				if !errors.Is(err, ErrExhausted) || !strings.Contains(err.Error(), "after 7 SYNs") {
					t.Errorf("%s: %v", c.name, err)
				}
				ended = now.Sub(start)
			}
			if due {
				if c.passes(k.sent, now.Sub(start)) {
					answerAt = now.Add(20 * time.Millisecond)
				}
				k.left(now)
			}
			if d := k.deadline(); d.Before(now) && !due && ended == 0 {
				t.Fatalf("%s: the deadline %v is past and nothing is due", c.name, d)
			}
		}
		if (c.ends == 0) != (ended == 0) || ended > c.ends {
			t.Errorf("%s: ended after %v, want %v at the latest", c.name, ended, c.ends)
		}
		if rate := float64(k.sent-canaryFirst-canarySoon) / 30; rate > 1 && ended == 0 && c.name == "an open NAT" {
			t.Errorf("%s: %.2f a second, more than a router answers", c.name, rate)
		}
	}
	var silent canary
	silent.left(time.Unix(1, 0))
	silent.left(time.Unix(1, 0))
	silent.back()
	if silent.works() {
		t.Error("a canary that came back once of two works")
	}
}
