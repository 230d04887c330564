package timing

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestDiscipline(t *testing.T) {
	c, err := Discipline()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", c)
	// adjtimex(2): the kernel bounds both errors by NTP_PHASE_LIMIT, 16 s.
	if c.MaxError < 0 || c.MaxError > 16*time.Second || c.EstError < 0 || c.EstError > 16*time.Second {
		t.Errorf("errors %v and %v", c.MaxError, c.EstError)
	}
	// MAXFREQ in the kernel is 500 ppm.
	if c.Frequency < -500 || c.Frequency > 500 {
		t.Errorf("frequency %v ppm", c.Frequency)
	}
	// The leap seconds so far make 37 s; a daemon has set them, or not.
	if c.TAI != 0 && c.TAI < 37 {
		t.Errorf("TAI - UTC is %d s", c.TAI)
	}
}

func TestClockFrom(t *testing.T) {
	for name, tt := range map[string]struct {
		tx    unix.Timex
		state int
		want  Clock
	}{
		"after boot": {
			unix.Timex{Status: unix.STA_UNSYNC, Maxerror: 16000000, Esterror: 16000000}, unix.TIME_ERROR,
			Clock{MaxError: 16 * time.Second, EstError: 16 * time.Second},
		},
		"ntpd, microseconds": {
			unix.Timex{Status: 1, Maxerror: 1500, Esterror: 20, Offset: -7, Freq: -3 << 15, Tai: 37}, unix.TIME_OK,
			Clock{Synchronised: true, MaxError: 1500 * time.Microsecond, EstError: 20 * time.Microsecond,
				Offset: -7 * time.Microsecond, Frequency: -1.5, TAI: 37},
		},
		"nanoseconds": {
			unix.Timex{Status: unix.STA_NANO, Maxerror: 1, Offset: 250}, unix.TIME_OK,
			Clock{Synchronised: true, MaxError: time.Microsecond, Offset: 250},
		},
		"leap second ahead": {
			unix.Timex{}, unix.TIME_INS, Clock{Synchronised: true, Leap: "insert"},
		},
		"leap second to be left out": {
			unix.Timex{}, unix.TIME_DEL, Clock{Synchronised: true, Leap: "delete"},
		},
		"leap second now": {
			unix.Timex{}, unix.TIME_OOP, Clock{Synchronised: true, Leap: "in progress"},
		},
		"leap second just over": {
			unix.Timex{}, unix.TIME_WAIT, Clock{Synchronised: true, Leap: "just over"},
		},
		// A hardware clock error: the state says so although STA_UNSYNC is clear.
		"error state": {
			unix.Timex{Status: unix.STA_CLOCKERR}, unix.TIME_ERROR, Clock{},
		},
	} {
		if diff := cmp.Diff(tt.want, clockFrom(&tt.tx, tt.state)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
