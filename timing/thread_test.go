package timing

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestSleepUntil(t *testing.T) {
	th, err := OpenThread(&Config{Realtime: true, CPUs: []int{0}})
	if err != nil {
		t.Fatal(err)
	}
	defer th.Close()
	for _, n := range th.Notes() {
		t.Log(n)
	}
	for _, d := range []time.Duration{0, time.Microsecond, time.Millisecond, 30 * time.Millisecond} {
		at := time.Now().Add(d)
		err := th.SleepUntil(context.Background(), at)
		late := time.Now().Round(0).Sub(at.Round(0))
		t.Log(d, late, err)
		if err != nil && !errors.Is(err, ErrPast) {
			t.Error(err)
		}
	}
}
