package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/sweep"
)

// armFlags say how an arm of a sweep punches, and what it meets.
type armFlags struct {
	engine, strategy, ttl, timer string
	natA, natB                   string
	delay, skew, rstDelay        string
	sendError                    string
	jitter, clockError           time.Duration
	loss                         float64
	retries                      int
	rt                           bool
}

// skewAim is the word for the middle of the window.
const skewAim = "aim"

func defaultArm() armFlags {
	return armFlags{engine: "repair", strategy: "cross", ttl: "0", timer: string(sweep.TimerExact),
		natA: lab.NATLinux, natB: lab.NATLinux, delay: "20ms", skew: skewAim}
}

// register defines the flags; what they are now is the default.
func (f *armFlags) register(fl *pflag.FlagSet) {
	fl.StringVar(&f.engine, "engine", f.engine, "repair, park or connect, in a simulation connect-old too; `A,B` for one each")
	fl.StringVar(&f.strategy, "strategy", f.strategy, "cross or prime; `A,B` for one each")
	fl.StringVar(&f.ttl, "ttl", f.ttl, "of the SYNs, with prime of the priming SYN; 0 is 64, with prime 2; `A,B` for one each")
	fl.IntVar(&f.retries, "retries", f.retries, "SYNs sent after an RST or ICMP error (default: repair and park 64, connect none; negative: none)")
	fl.StringVar(&f.timer, "timer", f.timer, "exact, or sleep: time.Sleep and then net.Dialer, as applications do (engine connect); `A,B` for one each")
	fl.BoolVar(&f.rt, "rt", f.rt, "live: SCHED_FIFO until the SYN has left, where it is allowed")
	fl.StringVar(&f.sendError, "send-error", f.sendError, "sim: standard deviation of the instant at which a SYN leaves (default: 0s, with timer sleep 300µs); `A,B` for one each")
	fl.StringVar(&f.natA, "nat-a", f.natA, "`KIND` of NAT in front of A, see 'synpunch sim --help'")
	fl.StringVar(&f.natB, "nat-b", f.natB, "`KIND` of NAT in front of B")
	fl.StringVar(&f.delay, "delay", f.delay, "delay of the link, each way; `AB,BA` for one each")
	fl.StringVar(&f.skew, "skew", f.skew, "B's instant less A's; aim is the middle of the window")
	fl.DurationVar(&f.jitter, "jitter", f.jitter, "a packet takes up to this much longer on the link, uniformly")
	fl.Float64Var(&f.loss, "loss", f.loss, "probability, 0 to 1, that the link loses a packet")
	fl.DurationVar(&f.clockError, "clock-error", f.clockError, "each host's clock is wrong by up to this much, either way, drawn for each trial")
	fl.StringVar(&f.rstDelay, "rst-delay", f.rstDelay, "how long the NATs wait before they answer what they were not asked for; makes them models")
}

// arm is what the flags say.
func (f *armFlags) arm(name string) (sweep.Arm, error) {
	a := sweep.Arm{Name: name, Jitter: f.jitter, Loss: f.loss, ClockError: f.clockError}
	asIs := func(s string) (string, error) { return s, nil }
	engines, err1 := perSide("engine", f.engine, asIs)
	strategies, err2 := perSide("strategy", f.strategy, asIs)
	ttls, err3 := perSide("ttl", f.ttl, parseTTL)
	timers, err4 := perSide("timer", f.timer, asIs)
	delays, err5 := perSide("delay", f.delay, time.ParseDuration)
	sendErrors, err6 := perSide("send-error", f.sendError, optional)
	rstDelay, err7 := optional(f.rstDelay)
	if err7 != nil {
		err7 = fmt.Errorf("--rst-delay: %w", err7)
	}
	if f.skew != skewAim {
		skew, err := time.ParseDuration(f.skew)
		if err != nil {
			return a, fmt.Errorf("--skew %q: want a duration such as 5ms, or aim", f.skew)
		}
		a.Skew = &skew
	}
	for i, s := range []*sweep.Side{&a.A, &a.B} {
		*s = sweep.Side{NAT: [2]string{f.natA, f.natB}[i], Engine: engines[i], Strategy: strategies[i], TTL: ttls[i],
			Retries: f.retries, Timer: sweep.Timer(timers[i]), Realtime: f.rt, SendError: sendErrors[i]}
	}
	a.DelayAB, a.DelayBA, a.RSTDelay = delays[0], delays[1], rstDelay
	return a, errors.Join(err1, err2, err3, err4, err5, err6, err7)
}

// optional reads a duration that may be missing.
func optional(s string) (*time.Duration, error) {
	if s == "" {
		return nil, nil
	}
	d, err := time.ParseDuration(s)
	return &d, err
}

// armList is the arms that --arm names, or the only one.
func (f *sweepFlags) armList() ([]sweep.Arm, error) {
	if len(f.arms) == 0 {
		a, err := f.arm.arm(f.arm.engine)
		return []sweep.Arm{a}, err
	}
	var list []sweep.Arm
	for _, text := range f.arms {
		name, words, found := strings.Cut(text, "=")
		if name = strings.TrimSpace(name); name == "" || !found {
			return nil, fmt.Errorf("--arm %q: want NAME=FLAGS, such as stock='--engine connect --timer sleep'", text)
		}
		own := f.arm
		fl := pflag.NewFlagSet(name, pflag.ContinueOnError)
		fl.SetOutput(io.Discard)
		own.register(fl)
		if err := fl.Parse(strings.Fields(words)); err != nil {
			return nil, fmt.Errorf("--arm %s: %w", name, err)
		}
		if fl.NArg() > 0 {
			return nil, fmt.Errorf("--arm %s: %q is not a flag", name, fl.Arg(0))
		}
		a, err := own.arm(name)
		if err != nil {
			return nil, fmt.Errorf("--arm %s: %w", name, err)
		}
		list = append(list, a)
	}
	return list, nil
}
