package sweep

import (
	"encoding/json"

	"github.com/synpunch/synpunch/lab/sim"
)

// Value is the share, 0 to 1; of nothing it is 0.
func (s Share) Value() float64 { return sim.Share(s).Value() }

// Interval is the Wilson score interval with a confidence of 95 % (E. B. Wilson,
// 1927); of nothing it is 0 to 1.
func (s Share) Interval() (lo, hi float64) { return sim.Share(s).Interval() }

// add counts a trial.
func (s *Share) add(hit bool) {
	s.Of++
	if hit {
		s.Count++
	}
}

type shareJSON struct {
	Count int     `json:"count"`
	Of    int     `json:"of"`
	Share float64 `json:"share"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// MarshalJSON writes count, of, share, and low and high of the Interval.
func (s Share) MarshalJSON() ([]byte, error) {
	lo, hi := s.Interval()
	return json.Marshal(shareJSON{s.Count, s.Of, s.Value(), lo, hi})
}

// UnmarshalJSON reads count and of from what MarshalJSON writes.
func (s *Share) UnmarshalJSON(b []byte) error {
	var v shareJSON
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*s = Share{v.Count, v.Of}
	return nil
}
