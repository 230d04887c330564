package page

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/synpunch/synpunch/capture"
)

// story is an opening as packets tell it.
type story interface {
	Ladder() *capture.Ladder
	WriteLadder(io.Writer, *capture.LadderConfig) error
	Diagnosis() []capture.Finding
}

var (
	_ story = (*capture.Passage)(nil)
	_ story = (*capture.Joined)(nil)
	_ story = alone{}
)

// alone is an opening that one place saw.
type alone struct{ *capture.Timeline }

// WriteLadder writes it as text.
func (a alone) WriteLadder(w io.Writer, cfg *capture.LadderConfig) error {
	return capture.WriteLadder(w, a.Timeline, cfg)
}

// ladder is an opening as the page shows it.
type ladder struct {
	ID, Name     string
	Wide, Narrow template.HTML
	Text         string
	Says         []string // what the packets say, and which of them prove it
}

// Measures of ladders on a screen and on a phone in pixels, and limits; chosen by us: a
// trial has some dozens of packets and one opening, and a page must not hang on a file of
// gigabytes.
const (
	ladderWide   = 960
	ladderNarrow = 480
	mostPackets  = 20_000
	mostLadders  = 3
)

// newLadder draws an opening. The name is for those who do not see the picture.
func newLadder(s story, id, name string) (ladder, error) {
	l := s.Ladder()
	v := ladder{ID: id, Name: name + ": the packets at " + strings.Join(l.Lanes, ", ") + ", time running down"}
	at := func(width float64) (template.HTML, error) {
		var b bytes.Buffer
		err := l.WriteSVG(&b, &capture.SVGConfig{Width: width, Label: v.Name})
		return template.HTML(b.String()), err
	}
	var text bytes.Buffer
	var errs [3]error
	v.Wide, errs[0] = at(ladderWide)
	v.Narrow, errs[1] = at(ladderNarrow)
	errs[2] = s.WriteLadder(&text, nil)
	v.Text = text.String()
	for _, f := range s.Diagnosis() {
		v.Says = append(v.Says, f.String())
	}
	return v, errors.Join(errs[:]...)
}

// tell adds the ladders of openings to a trial. What went wrong on the way is said too.
func (t *trial) tell(stories []story, wrong error) {
	for i, s := range stories {
		if i == mostLadders {
			wrong = errors.Join(wrong, fmt.Errorf("%d more openings are not drawn", len(stories)-i))
			break
		}
		v, err := newLadder(s, fmt.Sprintf("%s-%d", t.ID, i+1), "Ladder of "+t.Title)
		if err != nil {
			wrong = errors.Join(wrong, err)
			continue
		}
		t.Ladders = append(t.Ladders, v)
	}
	if wrong != nil {
		t.Trouble = wrong.Error()
	}
}

// openings reads a trial's capture, whose interfaces are places on the path. A file that
// ends in the middle gives what could be read, and the error.
func openings(files fs.FS, name string, at time.Time) ([]story, error) {
	var list []story
	err := eachPacket(files, name, func(r *capture.Reader, next func() (capture.Packet, error)) error {
		found, _, err := capture.AnalyzeLanes(func() (string, capture.Packet, error) {
			p, err := next()
			if err != nil {
				return "", p, err
			}
			lane := ""
			if ifs := r.Interfaces(); p.Interface >= 0 && p.Interface < len(ifs) {
				lane = ifs[p.Interface].Name
			}
			return lane, p, nil
		}, &capture.AnalyzeConfig{Reference: at})
		for _, p := range found {
			if len(p.Lanes) > 1 {
				list = append(list, p)
			}
		}
		return err
	})
	if err == nil && len(list) == 0 {
		err = errors.New("no opening that two places saw")
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return list, err
}

// eachPacket opens a capture and calls fn with it and with what gives its packets.
func eachPacket(files fs.FS, name string, fn func(*capture.Reader, func() (capture.Packet, error)) error) error {
	f, err := files.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := capture.NewReader(f)
	if err != nil {
		return err
	}
	n := 0
	return fn(r, func() (capture.Packet, error) {
		if n++; n > mostPackets {
			return capture.Packet{}, fmt.Errorf("only the first %d packets were read", mostPackets)
		}
		return r.Next()
	})
}
