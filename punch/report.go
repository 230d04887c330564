package punch

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/synpunch/synpunch/capture"
)

// ReportVersion is the version of the report format, docs/report.md. It grows
// when a field changes its meaning or goes away; new fields do not change it.
const ReportVersion = 1

// Attempt is a finished attempt.
type Attempt struct {
	once   sync.Once
	fill   func() *Report
	report *Report
}

// Report makes the report, in some 30 to 200 µs, at the first call: Do does not
// let the caller, who has a connection to use, wait for it.
func (a *Attempt) Report() *Report {
	a.once.Do(func() { a.report = a.fill() })
	return a.report
}

// Outcome is how an attempt ended.
type Outcome string

const (
	Established Outcome = "established" // the caller has a kernel socket
	Refused     Outcome = "refused"     // an RST ended it
	Unreachable Outcome = "unreachable" // an ICMP error ended it
	Timeout     Outcome = "timeout"     // the deadline passed
	Failed      Outcome = "error"       // this host could not carry the attempt out
)

// Report says what one attempt did, as the packets on the wire show it. All
// times are kernel stamps of CLOCK_REALTIME, taken where the packet socket
// sees the packet: a sent packet just before the driver gets it, a received
// one when the driver hands it up. A nil pointer means 'not known'.
type Report struct {
	Version  int      `json:"version"`
	Outcome  Outcome  `json:"outcome"`
	Error    string   `json:"error,omitempty"`
	Engine   Engine   `json:"engine"`
	Strategy Strategy `json:"strategy"`
	Flow     Flow     `json:"flow"` // where the remote port was not certain: the winner's, or the first candidate's

	Candidates *Candidates `json:"candidates,omitempty"` // absent: the plan names one remote port
	FanOut     *FanReport  `json:"fan,omitempty"`        // absent: another strategy

	ISN          *uint32           `json:"isn"`
	PeerISN      *uint32           `json:"peer_isn"`
	MSS          Pair[uint16]      `json:"mss"`           // as each side's SYN says; 0: the option was absent
	WindowScale  Pair[*uint8]      `json:"window_scale"`  // null: not offered
	SACK         bool              `json:"sack"`          // both offered it
	Timestamps   bool              `json:"timestamps"`    // both offered them
	Simultaneous *bool             `json:"simultaneous"`  // this end answered a bare SYN of the peer while its own was out
	Crossing     *capture.Crossing `json:"crossing"`      // how the SYNs met, from this host alone (capture.CrossingFromOne); a is this host; null when it cannot be told
	Scheduled    time.Time         `json:"scheduled"`     // the due instant
	Sent         *time.Time        `json:"sent"`          // when the first full SYN left
	SendErrorNS  *int64            `json:"send_error_ns"` // sent minus scheduled
	Established  *int64            `json:"established_ns"`
	HandoffNS    *int64            `json:"handoff_ns"` // last handshake packet to usable socket
	EarlyBytes   int               `json:"early_bytes"`
	Retransmits  int               `json:"retransmissions"` // SYNs and SYN-ACKs of ours sent again
	Resends      int               `json:"resends"`         // of these, in answer to an RST or ICMP error
	RSTs         int               `json:"rsts"`            // RSTs that came in for the flow
	ICMPs        int               `json:"icmps"`           // ICMP errors that came in for the flow
	Capture      *CaptureStats     `json:"capture"`         // null: no packet socket (CAP_NET_RAW)
	Transfer     *TransferStats    `json:"transfer,omitempty"`
	Notes        []string          `json:"notes"`
	Host         Host              `json:"host"`
	Events       []Event           `json:"events"`
}

// Flow is the 4-tuple.
type Flow struct {
	Local  netip.AddrPort `json:"local"`
	Remote netip.AddrPort `json:"remote"`
}

// Candidates says which remote ports were tried and what came of it.
type Candidates struct {
	Ports     []uint16 `json:"ports"`      // that got a SYN, in order
	LearnPort bool     `json:"learn_port"` // a SYN from another port was to be taken for the peer's
	Learned   bool     `json:"learned"`    // ... and has won
	Won       *uint16  `json:"won"`        // the winner; null: none
}

// Pair holds one value of each side.
type Pair[T any] struct {
	Ours T `json:"ours"`
	Peer T `json:"peer"`
}

// CaptureStats are the counters of the packet socket that the report rests on.
type CaptureStats struct {
	Received uint64 `json:"received"`
	Dropped  uint64 `json:"dropped"` // more than 0: events may be missing
}

// TransferStats are the bytes that went over the kernel socket.
type TransferStats struct {
	Sent     int64 `json:"bytes_sent"`
	Received int64 `json:"bytes_received"`
}

// Host names where the attempt ran.
type Host struct {
	OS      string `json:"os"`
	Kernel  string `json:"kernel"`
	Version string `json:"synpunch"`
}

// Event is one packet of the attempt, with its time relative to the due instant.
type Event = capture.Event

// JSON writes the report as one indented object and a newline.
func (r *Report) JSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// WriteFile writes the report to path in one step, so that a reader never
// sees half of it.
func (r *Report) WriteFile(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	defer os.Remove(f.Name())
	err = r.JSON(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Chmod(f.Name(), 0o644)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// Summary is the report in one line.
func (r *Report) Summary() string {
	s := fmt.Sprintf("%s: %v -> %v, engine %s", r.Outcome, r.Flow.Local, r.Flow.Remote, r.Engine)
	if c := r.Candidates; c != nil {
		s += fmt.Sprintf(", %d remote ports", len(c.Ports))
		if c.Learned {
			s += fmt.Sprintf(", %d was learned", *c.Won)
		}
	}
	if f := r.FanOut; f != nil {
		s += f.summary()
	}
	if r.Simultaneous != nil && *r.Simultaneous {
		s += ", simultaneous open"
	}
	if r.Crossing != nil {
		s += fmt.Sprintf(", %s by %v", r.Crossing.Regime, round(r.Crossing.Margin.Nanoseconds()))
	}
	if r.SendErrorNS != nil {
		s += fmt.Sprintf(", sent %s after the instant", signed(*r.SendErrorNS))
	}
	if r.Established != nil {
		s += fmt.Sprintf(", established at %s", signed(*r.Established))
	}
	if r.HandoffNS != nil {
		s += fmt.Sprintf(", handed off in %v", round(*r.HandoffNS))
	}
	if r.Error != "" {
		s += ": " + r.Error
	}
	return s
}

// round keeps a duration readable: microseconds are what the stamps are good for.
func round(ns int64) time.Duration {
	d := time.Duration(ns)
	if d < 100*time.Microsecond && d > -100*time.Microsecond {
		return d.Round(100 * time.Nanosecond)
	}
	return d.Round(time.Microsecond)
}

func signed(ns int64) string {
	if ns >= 0 {
		return "+" + round(ns).String()
	}
	return round(ns).String()
}
