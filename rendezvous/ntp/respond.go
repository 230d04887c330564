package ntp

import (
	"time"

	"github.com/synpunch/synpunch/timing"
)

// State is what a server says about its clock.
type State struct {
	Synchronised bool
	Leap         uint8 // as in Packet, while synchronised
	Stratum      uint8
	RefID        [4]byte
	Delay        time.Duration // root delay
	Dispersion   time.Duration // root dispersion
	Reference    time.Time     // when the clock was last known to be right
	Precision    int8          // log2 of seconds
}

// DefaultStratum is the stratum of a server whose clock somebody else keeps. The
// kernel does not tell how far that one is from a reference clock, so this is a number that
// real servers beat.
const DefaultStratum = 10

// localRef says 'the local clock' in the form of an address (127.127.1.1), as
// ntpd and chronyd do.
var localRef = [4]byte{127, 127, 1, 1}

// kernelDrift is what the kernel may not yet have added to its bound, which it
// raises by 500 ppm once a second (second_overflow).
const kernelDrift = 500 * time.Microsecond

// StateFrom is what the kernel's knowledge of its clock, as of now, allows to say. An
// unsynchronised clock is called so unless stratum is not 0: then it is served as it is, with
// that stratum and no error, for hosts that only have to agree among themselves.
func StateFrom(c timing.Clock, now time.Time, stratum, precision uint8) State {
	s := State{Stratum: stratum, RefID: localRef, Reference: now, Precision: -int8(precision)}
	kept := c.Synchronised && c.MaxError < maxDistance
	switch {
	case !kept && stratum == 0:
		return State{Leap: leapUnknown, Precision: s.Precision}
	case kept:
		s.Dispersion = c.MaxError + kernelDrift
		if stratum == 0 {
			s.Stratum = DefaultStratum
		}
	}
	s.Synchronised = true
	switch c.Leap {
	case "insert":
		s.Leap = 1
	case "delete":
		s.Leap = 2
	}
	return s
}

// Respond makes the answer to a request that came at received. Its transmit
// timestamp is left to the caller, who knows when it leaves. It reports false
// for what gets none: everything but requests of mode 3 and versions 1 to 4. Control and
// private packets (modes 6 and 7) among them, whose answers are longer than they.
func Respond(req *Packet, received time.Time, s *State) (Packet, bool) {
	if req.Mode != modeClient || req.Version < 1 || req.Version > version {
		return Packet{}, false
	}
	p := Packet{
		Leap: s.Leap, Version: req.Version, Mode: modeServer, Stratum: s.Stratum, Poll: req.Poll, Precision: s.Precision,
		RootDelay: s.Delay, RootDispersion: s.Dispersion, RefID: s.RefID,
		Reference: At(s.Reference), Origin: req.Transmit, Receive: At(received),
	}
	if !s.Synchronised {
		// Stratum 16 is 0 on the wire, and the identifier says why (RFC 5905, section 7.3 and figure 13).
		p.Leap, p.Stratum, p.RefID, p.Reference = leapUnknown, 0, [4]byte([]byte("INIT")), 0
	}
	return p, true
}

// Kiss makes the kiss o' death RATE (RFC 5905, section 7.4) out of an answer: ask less often.
func Kiss(p Packet) Packet {
	p.Leap, p.Stratum, p.RefID = leapUnknown, 0, [4]byte([]byte("RATE"))
	p.RootDelay, p.RootDispersion, p.Reference = 0, 0, 0
	return p
}
