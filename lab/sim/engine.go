package sim

import (
	"fmt"
	"slices"
	"time"
)

// Engine names what a host runs.
type Engine string

// The engines.
const (
	Repair     Engine = "repair"      // rawtcp's handshake, which outlives resets and ICMP errors
	Park       Engine = "park"        // a Linux socket in SYN-SENT whose SYN is held back and copied at the instant; another takes its place when an answer kills it
	Connect    Engine = "connect"     // connect() on Linux, which such an answer ends
	ConnectOld Engine = "connect-old" // the same on Linux from before mid-2024 (commit 23e89e8ee7be)
)

// Engines lists the engines from the best to the worst.
func Engines() []Engine { return []Engine{Repair, Park, Connect, ConnectOld} }

// ParseEngine reads an engine's name; "" is Repair.
func ParseEngine(s string) (Engine, error) {
	if s == "" {
		return Repair, nil
	}
	if e := Engine(s); slices.Contains(Engines(), e) {
		return e, nil
	}
	return "", fmt.Errorf("%w: %q is not an engine: want repair, park, connect or connect-old", ErrConfig, s)
}

// stubborn reports whether an engine sends again after an answer that kills.
func (e Engine) stubborn() bool { return e == Repair || e == Park }

// Strategy names what is sent.
type Strategy string

// The strategies.
const (
	Cross Strategy = "cross" // one SYN, timed to cross the peer's
	Prime Strategy = "prime" // first a SYN whose TTL ends between the NATs, then Cross
)

// Strategies lists the strategies.
func Strategies() []Strategy { return []Strategy{Cross, Prime} }

// ParseStrategy reads a strategy's name; "" is Cross.
func ParseStrategy(s string) (Strategy, error) {
	if s == "" {
		return Cross, nil
	}
	if st := Strategy(s); slices.Contains(Strategies(), st) {
		return st, nil
	}
	return "", fmt.Errorf("%w: %q is not a strategy: want cross or prime", ErrConfig, s)
}

// What package punch does, which this package does not import; a test of the
// command compares what is exported there.
const (
	// PrimeLead is how long before the instant the priming SYN leaves.
	PrimeLead = 250 * time.Millisecond
	// PrimeTTL is its TTL where Side.TTL is 0.
	PrimeTTL = 2
	// DefaultRetries is Side.Retries of Repair and Park where that is 0.
	DefaultRetries = 64

	armLead  = 100 * time.Millisecond // before the instant a socket is parked
	openLead = 300 * time.Microsecond // before the instant it may answer the peer
)
