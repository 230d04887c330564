package main

import (
	"io"
	"os"

	"golang.org/x/term"

	"github.com/synpunch/synpunch/capture"
)

const (
	pipeWidth = 100 // columns of a ladder that no terminal shows
	maxWidth  = 140 // a wider ladder is harder to follow
)

// ladderConfig fits a ladder to where it goes: a terminal's width and colours,
// or plain text of a fixed width. NO_COLOR (no-color.org) is heard.
func ladderConfig(w io.Writer, ascii bool) *capture.LadderConfig {
	cfg := &capture.LadderConfig{Width: pipeWidth, ASCII: ascii}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		if cols, _, err := term.GetSize(int(f.Fd())); err == nil && cols > 0 {
			cfg.Width = min(cols, maxWidth)
		}
		cfg.Color = colorOn()
	}
	return cfg
}

// colorOn reports whether the environment allows colour on a terminal.
func colorOn() bool { return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" }
