package predict

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// Observation is one mapping of a NAT as somebody saw it: a connection that an
// internal endpoint made, and the endpoint that the destination saw.
type Observation struct {
	// Time is when the NAT made or used the mapping; the zero Time is 'not known'.
	// Either all observations have a time or none has.
	Time time.Time
	// Local is the internal endpoint. The address may be missing (invalid): all
	// such observations are of one host.
	Local netip.AddrPort
	// Dest is the endpoint that was connected to. The zero value is 'not known',
	// which counts as one and the same destination.
	Dest netip.AddrPort
	// External is the public endpoint. The address may be missing.
	External netip.AddrPort
	// Line is the line of the file that the observation comes from, 0 if none.
	Line int
}

// name is how messages call the observation with index i.
func (o *Observation) name(i int) string {
	if o.Line > 0 {
		return "line " + strconv.Itoa(o.Line)
	}
	return "observation " + strconv.Itoa(i+1)
}

// MarshalJSON writes the observation as one line of the format that Parse reads.
func (o Observation) MarshalJSON() ([]byte, error) {
	type record struct {
		Time     *time.Time `json:"time,omitempty"`
		Local    string     `json:"local"`
		Dest     string     `json:"dest,omitempty"`
		External string     `json:"external"`
	}
	r := record{Local: endpointString(o.Local), External: endpointString(o.External)}
	if !o.Time.IsZero() {
		utc := o.Time.UTC()
		r.Time = &utc
	}
	if o.Dest != (netip.AddrPort{}) {
		r.Dest = endpointString(o.Dest)
	}
	return json.Marshal(r)
}

// endpointString is "IP:PORT", or ":PORT" without an address.
func endpointString(ap netip.AddrPort) string {
	if ap.Addr().IsValid() {
		return ap.String()
	}
	return ":" + strconv.Itoa(int(ap.Port()))
}

// Errors of New and Next; they are wrapped with the observation and the reason.
var (
	// ErrObservation is an observation that cannot be: a port is 0, or a time is
	// missing where others have one.
	ErrObservation = errors.New("impossible observation")
	// ErrContradiction is two observations that no NAT can have made together.
	ErrContradiction = errors.New("observations contradict each other")
	// ErrTarget is a question that the observations cannot answer.
	ErrTarget = errors.New("cannot predict that")
)

// check validates obs and returns them in the order in which the models take
// them: by time, and without a record that is there twice. timed says whether they
// carry times.
func check(obs []Observation) (sorted []Observation, timed bool, err error) {
	sorted = slices.Clone(obs)
	for i := range sorted {
		o := &sorted[i]
		if o.Line == 0 {
			o.Line = -(i + 1) // remember the place while sorting
		}
		switch {
		case o.Local.Port() == 0:
			return nil, false, fmt.Errorf("%s: local port 0: %w", obs[i].name(i), ErrObservation)
		case o.External.Port() == 0:
			return nil, false, fmt.Errorf("%s: external port 0: %w", obs[i].name(i), ErrObservation)
		case o.Time.IsZero() != obs[0].Time.IsZero():
			return nil, false, fmt.Errorf("%s: some observations have a time and some have none: %w", obs[i].name(i), ErrObservation)
		}
		o.Local, o.Dest, o.External = unmap(o.Local), unmap(o.Dest), unmap(o.External)
	}
	if len(sorted) == 0 {
		return nil, false, nil
	}
	timed = !sorted[0].Time.IsZero()
	if !timed {
		return sorted, false, nil
	}
	slices.SortStableFunc(sorted, func(a, b Observation) int {
		return cmp.Or(a.Time.Compare(b.Time), a.External.Compare(b.External), a.Local.Compare(b.Local), a.Dest.Compare(b.Dest))
	})
	sorted = slices.CompactFunc(sorted, func(a, b Observation) bool {
		return a.Time.Equal(b.Time) && a.Local == b.Local && a.Dest == b.Dest && a.External == b.External
	})
	// One external 5-tuple belongs to one internal endpoint at a time. Equal
	// instants stand together, sorted by external endpoint.
	for i := 1; i < len(sorted); i++ {
		for j := i - 1; j >= 0; j-- {
			a, b := &sorted[j], &sorted[i]
			if !a.Time.Equal(b.Time) || a.External != b.External {
				break
			}
			if a.Local != b.Local && a.Dest == b.Dest && a.Dest != (netip.AddrPort{}) {
				return nil, false, fmt.Errorf("%s and %s: %s and %s have the same external endpoint %s towards %s at the same instant: %w",
					place(a), place(b), endpointString(a.Local), endpointString(b.Local), endpointString(a.External), a.Dest, ErrContradiction)
			}
		}
	}
	return sorted, true, nil
}

// place names an observation that check has marked.
func place(o *Observation) string {
	if o.Line < 0 {
		return "observation " + strconv.Itoa(-o.Line)
	}
	return "line " + strconv.Itoa(o.Line)
}

func unmap(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
