package timing

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

func discipline() (Clock, error) {
	var tx unix.Timex // Modes 0 only reads
	state, err := unix.Adjtimex(&tx)
	if err != nil {
		return Clock{}, fmt.Errorf("adjtimex: %w", err)
	}
	return clockFrom(&tx, state), nil
}

func clockFrom(tx *unix.Timex, state int) Clock {
	unit := time.Microsecond
	if tx.Status&unix.STA_NANO != 0 {
		unit = time.Nanosecond
	}
	c := Clock{
		Synchronised: tx.Status&unix.STA_UNSYNC == 0 && state != unix.TIME_ERROR,
		MaxError:     time.Duration(tx.Maxerror) * time.Microsecond,
		EstError:     time.Duration(tx.Esterror) * time.Microsecond,
		Offset:       time.Duration(tx.Offset) * unit,
		Frequency:    float64(tx.Freq) / (1 << 16), // "ppm with a 16-bit fractional part"
		TAI:          int(tx.Tai),
	}
	switch state {
	case unix.TIME_INS:
		c.Leap = "insert"
	case unix.TIME_DEL:
		c.Leap = "delete"
	case unix.TIME_OOP:
		c.Leap = "in progress"
	case unix.TIME_WAIT:
		c.Leap = "just over"
	}
	return c
}
