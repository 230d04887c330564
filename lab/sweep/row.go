package sweep

import "time"

// Row is one trial. It is the data format of a sweep: its JSON names are the columns
// of CSV, JSON lines and Parquet, in this order. Nil is what nobody knows.
//
// New columns may come at the end; none changes its meaning without a new Version.
type Row struct {
	N     int64  `json:"n" parquet:"n"`              // the place in the order of all trials, from 0
	Point int    `json:"point" parquet:"point"`      // number of the grid point, from 0
	Trial int    `json:"trial" parquet:"trial"`      // number of the trial at its point, from 0: rows with the same point and trial are a pair, one for each arm
	Arm   string `json:"arm" parquet:"arm,dict"`     // name of the arm
	World string `json:"world" parquet:"world,dict"` // "sim" or "live"
	Seed  uint64 `json:"seed" parquet:"seed"`        // of the draws of the pair, below 2^53

	X int64  `json:"x" parquet:"x"` // value on the first axis: nanoseconds, for ttl hops
	Y *int64 `json:"y" parquet:"y"` // on the second axis, if there are two

	At            time.Time `json:"at" parquet:"at,timestamp(nanosecond)"`     // the instant agreed for A; simulated: virtual time
	ABNS          int64     `json:"ab_ns" parquet:"ab_ns"`                     // delay of the link from A to B, as ordered, without jitter
	BANS          int64     `json:"ba_ns" parquet:"ba_ns"`                     // from B to A
	SkewOrderedNS int64     `json:"skew_ordered_ns" parquet:"skew_ordered_ns"` // B's instant minus A's, as ordered
	ClockANS      int64     `json:"clock_a_ns" parquet:"clock_a_ns"`           // how far A's clock was ahead of the true time
	ClockBNS      int64     `json:"clock_b_ns" parquet:"clock_b_ns"`           // how far B's clock was ahead

	SkewMeasuredNS *int64 `json:"skew_measured_ns" parquet:"skew_measured_ns"` // B's SYN at NAT B minus A's at NAT A, on the link
	Regime         string `json:"regime" parquet:"regime,dict"`                // crossed, a-early or b-early; "": a SYN never reached the other NAT
	MarginNS       *int64 `json:"margin_ns" parquet:"margin_ns"`               // how much more skew would have lost the crossing; negative: missed by this much

	Outcome       string `json:"outcome" parquet:"outcome,dict"`          // established (both ends), refused, unreachable, timeout or error
	Simultaneous  bool   `json:"simultaneous" parquet:"simultaneous"`     // both ends answered a bare SYN of the other with theirs out
	EstablishedNS *int64 `json:"established_ns" parquet:"established_ns"` // when the later end was established, after A's instant

	SendErrorANS *int64 `json:"send_error_a_ns" parquet:"send_error_a_ns"` // A's first SYN on the wire minus its instant, in A's own clock
	SendErrorBNS *int64 `json:"send_error_b_ns" parquet:"send_error_b_ns"` // B's
	SYNsA        int    `json:"syns_a" parquet:"syns_a"`                   // SYNs that A sent, every copy counted
	SYNsB        int    `json:"syns_b" parquet:"syns_b"`

	PCross     *float64 `json:"p_cross" parquet:"p_cross"`         // the probability of crossing that package timing states beforehand
	OverheadNS *int64   `json:"overhead_ns" parquet:"overhead_ns"` // live: wall time of the trial less the punch itself, see docs/sweep.md
	Capture    string   `json:"capture" parquet:"capture"`         // file in the directory of the sweep; "": none
	Error      string   `json:"error" parquet:"error"`             // of an end that failed
}

// Established is the Outcome of a trial that connected at both ends.
const Established = "established"

// Failed is the Outcome of a trial in which a host could not do its part.
const Failed = "error"
