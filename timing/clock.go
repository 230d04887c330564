package timing

import "time"

// Clock is what the kernel knows about the discipline of its wall clock, as an
// NTP or PTP daemon set it: see adjtimex(2).
type Clock struct {
	// Synchronised is true while a daemon keeps the clock (STA_UNSYNC is clear
	// and the state is not TIME_ERROR).
	Synchronised bool `json:"synchronised"`
	// MaxError bounds the error of the clock. The kernel lets it grow by 500 ppm
	// between the daemon's updates and stops at 16 s; it says nothing when the
	// clock is not synchronised.
	MaxError time.Duration `json:"max_error_ns"`
	// EstError is the daemon's own estimate of the error. Several daemons leave
	// it at 0 or at MaxError.
	EstError time.Duration `json:"est_error_ns"`
	// Offset is the part of the last correction that is still to be slewed. Daemons
	// that steer by frequency alone (chrony) leave it at 0.
	Offset time.Duration `json:"offset_ns"`
	// Frequency is the correction of the oscillator in parts per million.
	Frequency float64 `json:"frequency_ppm"`
	// TAI is TAI minus UTC in seconds, 0 when no daemon has set it.
	TAI int `json:"tai_s"`
	// Leap is "", "insert" or "delete": the announced leap second, or "in
	// progress" and "just over". The wall clock steps there.
	Leap string `json:"leap,omitempty"`
}

// Discipline asks the kernel about its wall clock. It needs no capability. On
// systems other than Linux the error wraps errors.ErrUnsupported.
func Discipline() (Clock, error) { return discipline() }
