package limit

import (
	"log/slog"
	"sync/atomic"
	"time"
)

// Trouble is what a server does when the system refuses a call that it will allow
// later: wait a moment, and tell the operator, but not each time.
type Trouble struct {
	log  *slog.Logger
	next atomic.Int64 // when the log may hear of it again, Unix ns
}

const (
	pause    = 20 * time.Millisecond // long enough not to spin
	logEvery = time.Minute
)

// NewTrouble makes a Trouble that tells log.
func NewTrouble(log *slog.Logger) *Trouble { return &Trouble{log: log} }

// Wait is called after each failure of what words name.
func (t *Trouble) Wait(words string, err error) {
	now := time.Now()
	if next := t.next.Load(); now.UnixNano() >= next && t.next.CompareAndSwap(next, now.Add(logEvery).UnixNano()) {
		t.log.Warn(words, "error", err)
	}
	time.Sleep(pause)
}
