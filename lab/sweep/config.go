package sweep

import "time"

// The worlds.
const (
	Sim  = "sim"  // package lab/sim: virtual time
	Live = "live" // package lab/live: real packets between network namespaces
)

// Chosen by us.
const (
	// DefaultTimeout is Config.Timeout where that is 0: room for one retransmission.
	DefaultTimeout = 2 * time.Second
	// MaxPoints is the largest number of points of a grid.
	MaxPoints = 100_000
	// MaxTrials is the largest number of trials of a sweep.
	MaxTrials = 100_000_000
	// MaxTime bounds each value of an axis that is a duration.
	MaxTime = time.Minute
	// SleepError is the standard deviation of a simulated host's sending instant where
	// its timer is TimerSleep and nothing else is said.
	SleepError = 300 * time.Microsecond
)

// Captures says of which trials the packets are kept, for Config.Captures.
const (
	CaptureNone   = "none"
	CaptureFailed = "failed" // of trials that did not connect
	CaptureAll    = "all"
)

// Config says what to try. A Config makes the same trials in the same order each
// time.
type Config struct {
	World   string        `json:"world"`      // Sim or Live; "": Sim
	Family  string        `json:"family"`     // lab.IP4 or lab.IP6; "": lab.IP4
	Axes    []Grid        `json:"axes"`       // one or two
	Arms    []Arm         `json:"arms"`       // one or more, with names of their own
	Trials  int           `json:"trials"`     // of each arm at each point, 1 or more
	Seed    uint64        `json:"seed"`       // of the order and of every draw
	Timeout time.Duration `json:"timeout_ns"` // of a trial, from each side's instant; 0: DefaultTimeout
	// Captures is CaptureNone, CaptureFailed, CaptureAll or a number: that of the
	// first trials of each arm at each point. "" is CaptureNone.
	Captures string `json:"captures"`
	// Bytes is how much each side sends over the connection of a live trial, to be
	// compared at the other end; 0: nothing.
	Bytes int64 `json:"bytes"`
}

// Arm is one way to punch, and the world it meets. The axes of the sweep override
// its fields.
type Arm struct {
	Name string `json:"name"`
	A    Side   `json:"a"`
	B    Side   `json:"b"`

	DelayAB    time.Duration  `json:"delay_ab_ns"`    // of the link, from A to B
	DelayBA    time.Duration  `json:"delay_ba_ns"`    // from B to A
	Skew       *time.Duration `json:"skew_ns"`        // B's instant minus A's; nil: the middle of the window (timing.Path.Aim)
	Jitter     time.Duration  `json:"jitter_ns"`      // a packet takes up to this much longer on the link, uniformly
	Loss       float64        `json:"loss"`           // share of packets that the link loses, 0 to 1
	ClockError time.Duration  `json:"clock_error_ns"` // each side's clock is wrong by up to this much, either way, uniformly
	// RSTDelay is how long the outermost NATs wait before they answer what they were
	// not asked for. It makes them models; nil: at once.
	RSTDelay *time.Duration `json:"rst_delay_ns"`
}

// Side is one host of an arm and what stands in front of it.
type Side struct {
	NAT      string `json:"nat"`      // what lab.ParseNAT reads; "": lab.NATLinux
	Engine   string `json:"engine"`   // repair, park, connect, in a simulation connect-old too; "": repair
	Strategy string `json:"strategy"` // cross or prime; "": cross
	TTL      uint8  `json:"ttl"`      // of the SYNs, with prime of the priming SYN; 0: the default of package punch
	Retries  int    `json:"retries"`  // SYNs sent after an RST or ICMP error; 0: the default of package punch; negative: none
	Timer    Timer  `json:"timer"`    // "": TimerExact
	Realtime bool   `json:"realtime"` // live: SCHED_FIFO until the SYN has left, where allowed
	// SendError is the standard deviation of the instant at which a simulated host's
	// SYN leaves; nil: 0, and SleepError with TimerSleep. Live, the error is what it is.
	SendError *time.Duration `json:"send_error_ns"`
}

// Timer says how a host waits for its instant.
type Timer string

// The timers.
const (
	TimerExact Timer = "exact" // package timing: a thread that watches the clock
	TimerSleep Timer = "sleep" // time.Sleep and then net.Dialer, as applications do (engine connect only)
)
