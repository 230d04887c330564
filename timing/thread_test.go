package timing

import (
	"context"
	"errors"
	"testing"
	"time"
)

func openThread(t *testing.T, cfg *Config) *Thread {
	t.Helper()
	th, err := OpenThread(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := th.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, n := range th.Notes() {
		t.Log(n)
	}
	return th
}

func TestSleepUntilIsNotEarly(t *testing.T) {
	for name, cfg := range map[string]*Config{
		"nil":       nil,
		"realtime":  {Realtime: true},
		"long spin": {Spin: 5 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			th := openThread(t, cfg)
			for _, d := range []time.Duration{50 * time.Microsecond, time.Millisecond, armed + 5*time.Millisecond} {
				at := time.Now().Round(0).Add(d)
				// A test machine may stop us for longer than d before the call.
				if err := th.SleepUntil(t.Context(), at); err != nil && !errors.Is(err, ErrPast) {
					t.Errorf("%v ahead: %v", d, err)
				}
				// The clock that SleepUntil watches and the one read here agree to stepNoise.
				if now := time.Now().Round(0); now.Before(at.Add(-stepNoise)) {
					t.Errorf("%v ahead: %v early", d, at.Sub(now))
				}
			}
			if err := th.DropRealtime(); err != nil {
				t.Error(err)
			}
			if err := th.SleepUntil(t.Context(), time.Now().Add(time.Millisecond)); err != nil && !errors.Is(err, ErrPast) {
				t.Errorf("after DropRealtime: %v", err)
			}
		})
	}
}

func TestSleepUntilThePast(t *testing.T) {
	th := openThread(t, nil)
	for _, ago := range []time.Duration{time.Microsecond, time.Second, 24 * 365 * time.Hour} {
		err := th.SleepUntil(t.Context(), time.Now().Add(-ago))
		if !errors.Is(err, ErrPast) {
			t.Errorf("%v ago: %v", ago, err)
			continue
		}
		var past *PastError
		// How much longer ago it is by now depends on the machine; the clocks'
		// difference may take stepNoise off.
		if !errors.As(err, &past) || past.By < ago-stepNoise || past.By > ago+time.Minute {
			t.Errorf("%v ago: %v", ago, err)
		}
	}
	// time.Time's zero value is further away than a Duration can say.
	if err := th.SleepUntil(t.Context(), time.Time{}); !errors.Is(err, ErrPast) {
		t.Errorf("the year 1: %v", err)
	}
}

func TestSleepUntilCancelled(t *testing.T) {
	th := openThread(t, nil)
	far := time.Now().Add(1000 * time.Hour)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := th.SleepUntil(gone, far); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}
	// Several in a row: a late wake-up of one must not end the next.
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if err := th.SleepUntil(ctx, far); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("cancelled while asleep: %v", err)
		}
		cancel()
	}
	if err := th.SleepUntil(t.Context(), time.Now().Add(armed+time.Millisecond)); err != nil && !errors.Is(err, ErrPast) {
		t.Errorf("after cancelled sleeps: %v", err)
	}
}

func TestSleepUntilNoticesAStep(t *testing.T) {
	for name, tt := range map[string]struct {
		ahead time.Duration
		reads int // of the clock before the step
	}{
		"in the long sleep":  {armed + 10*time.Millisecond, 8},
		"in the exact sleep": {armed / 2, 8},
	} {
		for _, step := range []time.Duration{time.Hour, -3 * time.Second, 100 * time.Microsecond} {
			th := openThread(t, nil)
			reads := 0
			th.clocks = func() (time.Time, time.Duration) {
				wall, mono := th.readClocks()
				if reads++; reads > tt.reads {
					wall = wall.Add(step)
				}
				return wall, mono
			}
			err := th.SleepUntil(t.Context(), time.Now().Add(tt.ahead))
			var stepped *StepError
			if !errors.Is(err, ErrClockStep) || !errors.As(err, &stepped) || abs(stepped.Step-step) > stepNoise {
				t.Errorf("%s, by %v: %v", name, step, err)
			}
		}
	}
}

func TestOpenThreadRefuses(t *testing.T) {
	for name, cfg := range map[string]*Config{
		"negative spin": {Spin: -1},
	} {
		if th, err := OpenThread(cfg); err == nil {
			th.Close()
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestCloseTwice(t *testing.T) {
	th, err := OpenThread(nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := th.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestThreadNeedsNoAllocation(t *testing.T) {
	th := openThread(t, nil)
	ctx := t.Context()
	if n := testing.AllocsPerRun(20, func() {
		if err := th.SleepUntil(ctx, time.Now().Add(300*time.Microsecond)); err != nil && !errors.Is(err, ErrPast) {
			t.Error(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations in a short sleep", n)
	}
}
