package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// progressLine shows on a terminal how far a long run is and how long it will
// take.
type progressLine struct {
	w            io.Writer // nil: no terminal
	what         string
	start, shown time.Time
}

func newProgress(w io.Writer, what string) *progressLine {
	p := &progressLine{what: what, start: time.Now()}
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		p.w = w
	}
	return p
}

func (p *progressLine) show(done, of int) {
	now := time.Now()
	if p.w == nil || done == 0 || now.Sub(p.start) < progressAfter || now.Sub(p.shown) < progressEvery {
		return
	}
	p.shown = now
	fmt.Fprintf(p.w, "\r%d of %d %s, %v left   ", done, of, p.what, timeLeft(now.Sub(p.start), done, of))
}

// timeLeft is how long the rest takes if it goes on like this.
func timeLeft(taken time.Duration, done, of int) time.Duration {
	return time.Duration(float64(taken) * float64(of-done) / float64(done)).Round(time.Second)
}

// clear wipes the line.
func (p *progressLine) clear() {
	if !p.shown.IsZero() {
		fmt.Fprintf(p.w, "\r%60s\r", "")
	}
}
