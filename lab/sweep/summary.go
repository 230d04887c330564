package sweep

import "time"

// Summary is what the trials of a sweep come to.
type Summary struct {
	Config Config `json:"config"`
	Done   int    `json:"done"` // trials made
	Of     int    `json:"of"`   // trials that the Config asks for
	// Cells has one entry for each point and arm, by point, then in the order of
	// Config.Arms.
	Cells []Cell `json:"cells"`
	// Paired compares each arm after the first with the first: all points together,
	// then each point.
	Paired []Difference `json:"paired"`
	// Overhead is what live trials took apart from the punch itself.
	Overhead Quantiles `json:"overhead_ns"`

	together bool // live hosts with TimerSleep were in one process
}

// Cell sums up the trials of one arm at one point.
type Cell struct {
	Point
	Arm    string `json:"arm"`
	Trials int    `json:"trials"`

	Established Share `json:"established"` // both ends
	Refused     Share `json:"refused"`     // an RST ended it
	Unreachable Share `json:"unreachable"` // an ICMP error ended it
	Timeout     Share `json:"timeout"`
	Failed      Share `json:"failed"` // a host could not do its part

	Crossed      Share `json:"crossed"` // by what was measured on the link
	AEarly       Share `json:"a_early"`
	BEarly       Share `json:"b_early"`
	Unmet        Share `json:"unmet"` // a SYN never reached the other NAT
	Simultaneous Share `json:"simultaneous"`

	Time      Quantiles `json:"established_ns"` // to established, of trials that connected
	Margin    Quantiles `json:"margin_ns"`      // of trials in which both SYNs reached the other NAT
	SendError Quantiles `json:"send_error_ns"`  // of both sides together
	SkewError Quantiles `json:"skew_error_ns"`  // skew as measured minus skew as ordered

	Theory Theory `json:"theory"`
}

// Theory is what follows from the delays of the link alone (DESIGN: package
// timing's Path), without jitter, loss and errors of clocks and timers.
type Theory struct {
	WindowFrom time.Duration `json:"window_from_ns"` // SYNs whose skew is above this
	WindowTo   time.Duration `json:"window_to_ns"`   // and below this cross
	Skew       time.Duration `json:"skew_ns"`        // as ordered
	Regime     string        `json:"regime"`         // crossed, a-early or b-early
	Margin     time.Duration `json:"margin_ns"`      // negative: missed by this much
	PCross     *float64      `json:"p_cross"`        // mean of the stated probabilities of the trials
}

// Share is how many of how many trials. In JSON it has its value and a confidence
// interval too.
type Share struct{ Count, Of int }

// Quantiles are of the N values of a sample; without any, N is 0 and the others
// mean nothing. Each but the outermost is the smallest value that at least this share of the
// sample does not exceed.
type Quantiles struct {
	N   int           `json:"n"`
	Min time.Duration `json:"min"`
	P10 time.Duration `json:"p10"`
	P50 time.Duration `json:"p50"`
	P90 time.Duration `json:"p90"`
	P99 time.Duration `json:"p99"`
	Max time.Duration `json:"max"`
}

// Difference compares an arm with the first one, pair by pair: the two trials of a
// pair were made one after the other at the same point with the same draws.
type Difference struct {
	Arm   string `json:"arm"`
	Base  string `json:"base"`  // the first arm
	Point *Point `json:"at"`    // nil: all points together
	Pairs int    `json:"pairs"` // in which both were made

	Both    int `json:"both"`     // connected in both arms
	Only    int `json:"only"`     // in Arm only
	OnlyNot int `json:"only_not"` // in Base only
	Neither int `json:"neither"`

	Share Interval `json:"share"`   // share that connected: Arm minus Base
	P     float64  `json:"p_value"` // that both connect alike: McNemar's test, mid-P

	// Time is the median of the differences of the time to established, Arm minus
	// Base in nanoseconds, of pairs in which both connected.
	Time Interval `json:"time_ns"`
}

// Interval is an estimate with an interval of 95 % confidence. Where the sample is too small for
// an interval, or empty, what is not known is nil.
type Interval struct {
	Value *float64 `json:"value"`
	Low   *float64 `json:"low"`
	High  *float64 `json:"high"`
}
