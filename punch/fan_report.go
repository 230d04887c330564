package punch

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

// FanReport says what a fan-out has sent and what came of it. Durations count from the
// first SYN that could reach the peer, except where it says otherwise.
type FanReport struct {
	LocalPorts  PortSpan `json:"local_ports"`
	RemotePorts int      `json:"remote_ports"` // how many
	Planned     int      `json:"planned"`      // SYNs

	// What was sent, also when the attempt was cut short.
	Probes  int `json:"probes"`  // SYNs that asked what the peer's NAT answers
	Primers int `json:"primers"` // SYNs that ended between the NATs
	SYNs    int `json:"syns"`    // SYNs that could reach the peer

	RateAsked   int      `json:"rate_asked"`   // SYNs a second
	RateReached *float64 `json:"rate_reached"` // of the SYNs; null: too few to tell
	SendingNS   int64    `json:"sending_ns"`   // from the first of the SYNs to the last
	Path        string   `json:"path"`         // rawtcp.Path: past this host's netfilter (packet) or through it (raw)
	Refused     int      `json:"refused"`      // sends that this host refused, whatever the reason

	Primed     bool   `json:"primed"`
	PeerAnswer string `json:"peer_answer"` // to the probe: rst, icmp, none; "" without a probe

	RSTs     int  `json:"rsts"` // that came back
	ICMPs    int  `json:"icmps"`
	Sampled  bool `json:"sampled"` // these two are estimates: 16 times a sample
	BackOffs int  `json:"back_offs"`

	Hits      []FanHit `json:"hits"` // in the order in which they came
	AllHits   bool     `json:"all_hits"`
	FirstHit  *int64   `json:"first_hit_ns"`
	Socket    *int64   `json:"socket_ns"` // until the caller's socket could be used
	Leads     *bool    `json:"leads"`     // this end took the winner first, the peer followed; null: no winner
	Why       string   `json:"why"`
	GuardsNS  int64    `json:"guards_ns"`   // opening the guards on the local ports
	Predicted float64  `json:"probability"` // of a hit by all SYNs sent, with Assumption
	Assumed   string   `json:"assumption"`

	simultaneous bool // the winner's
}

// PortSpan is the ports from First to Last.
type PortSpan struct {
	First uint16 `json:"first"`
	Last  uint16 `json:"last"`
}

// FanHit is a flow on which the peer was heard.
type FanHit struct {
	Local  netip.AddrPort `json:"local"`
	Remote netip.AddrPort `json:"remote"`
	AtNS   int64          `json:"at_ns"`
	Proven bool           `json:"proven"` // the peer has acknowledged our ISN
	Won    bool           `json:"won"`
}

// ranges writes ports as ranges, in their order.
func ranges(ports []uint16) []rawtcp.PortRange {
	var list []rawtcp.PortRange
	for _, port := range ports {
		if n := len(list); n > 0 && list[n-1].Hi+1 == port && port != 0 {
			list[n-1].Hi = port
			continue
		}
		list = append(list, rawtcp.PortRange{Lo: port, Hi: port})
	}
	return list
}

// assumption is what probability takes for granted.
func (p *Plan) assumption() string {
	f := &p.FanOut
	peer := "as many SYNs as we"
	if f.PeerSYNs > 0 {
		peer = fmt.Sprintf("%d SYNs", f.PeerSYNs)
	}
	ours := f.PeerPorts
	if ours == 0 {
		ours = len(p.remotePorts())
	}
	return fmt.Sprintf("the peer sends %s; its port is any of %d, ours any of %d, each as likely as the others", peer, len(p.remotePorts()), ours)
}

// summary is the fan-out's part of Report.Summary.
func (f *FanReport) summary() string {
	s := fmt.Sprintf(", %d SYNs", f.SYNs)
	if f.RateReached != nil {
		s += fmt.Sprintf(" at %.0f/s", *f.RateReached)
	}
	if f.Primers > 0 {
		s += fmt.Sprintf(" after %d that ended between the NATs", f.Primers)
	}
	s += fmt.Sprintf(", %d hits", len(f.Hits))
	if f.FirstHit != nil {
		s += fmt.Sprintf(", the first after %v", round(*f.FirstHit))
	}
	if f.Socket != nil {
		s += fmt.Sprintf(", socket after %v", round(*f.Socket))
	}
	return s
}

// rate is SYNs a second, if there were enough to tell.
func rate(syns int, took time.Duration) *float64 {
	if syns < 2*fanBatch || took <= 0 {
		return nil
	}
	r := float64(syns) / took.Seconds()
	return &r
}
