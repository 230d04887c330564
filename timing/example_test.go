package timing_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/synpunch/synpunch/timing"
)

// Two hosts behind NATs that are 30 ms apart one way and 10 ms the other.
func ExamplePath() {
	p := timing.Path{AB: 30 * time.Millisecond, BA: 10 * time.Millisecond}
	lo, hi := p.Window()
	fmt.Println("window", lo, hi)
	fmt.Println("aim", p.Aim(), "margin", p.Margin(p.Aim()))
	for _, skew := range []time.Duration{0, 35 * time.Millisecond, -10 * time.Millisecond} {
		fmt.Println("skew", skew, p.Regime(skew), p.Margin(skew))
	}
	u := timing.Uncertainty{Sigma: time.Millisecond, Bound: 15 * time.Millisecond}
	fmt.Printf("sent together, clocks within 15 ms: crossed with probability %.2f\n", p.CrossProbability(0, u))
	fmt.Printf("sent at the aim: %.2f\n", p.CrossProbability(p.Aim(), u))
	// Output:
	// window -10ms 30ms
	// aim 10ms margin 20ms
	// skew 0s crossed 10ms
	// skew 35ms a-early -5ms
	// skew -10ms b-early 0s
	// sent together, clocks within 15 ms: crossed with probability 0.83
	// sent at the aim: 1.00
}

// One exchange with a peer whose clock is a second ahead, over a path of 20 ms each way.
func ExampleFromExchange() {
	t1 := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	t2 := t1.Add(20*time.Millisecond + time.Second)
	t3 := t2.Add(100 * time.Microsecond)
	t4 := t1.Add(40*time.Millisecond + 100*time.Microsecond)
	o, err := timing.FromExchange(t1, t2, t3, t4)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(o)
	fmt.Println(o.ToRemote(t1).Format(time.TimeOnly))
	// Output:
	// +1s ±20ms
	// 12:00:01
}

func ExampleThread_SleepUntil() {
	th, err := timing.OpenThread(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer th.Close()
	at := time.Now().Add(20 * time.Millisecond)
	switch err := th.SleepUntil(context.Background(), at); {
	case errors.Is(err, timing.ErrPast):
		fmt.Println("too late")
	case err != nil:
		fmt.Println(err)
	default:
		fmt.Println("now")
	}
	// Output: now
}

func ExampleAppointment() {
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	m := timing.Appointment{
		// A's clock counts; B's is 250 ms ahead of it, within 5 ms.
		A:    timing.Party{Sigma: 50 * time.Microsecond, Access: 2 * time.Millisecond},
		B:    timing.Party{Sigma: 50 * time.Microsecond, Clock: timing.Offset{Offset: 250 * time.Millisecond, Bound: 5 * time.Millisecond}},
		Path: timing.Path{AB: 6 * time.Millisecond, BA: 2 * time.Millisecond},
	}
	a, b := m.Instants(noon)
	const clock = "15:04:05.000"
	fmt.Printf("A sends at %s of its clock, B at %s of its own\n", a.Format(clock), b.Format(clock))
	fmt.Printf("the SYNs cross with a probability of %.3f\n", m.Probability(m.Aim()))
	// Output:
	// A sends at 11:59:59.997 of its clock, B at 12:00:00.251 of its own
	// the SYNs cross with a probability of 0.800
}
