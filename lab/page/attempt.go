package page

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"strings"
	"time"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/punch"
)

// ErrNotAttempt says that a directory does not hold the report of an attempt.
var ErrNotAttempt = errors.New("no report of an attempt is there")

// The files of an attempt, as 'synpunch demo --capture DIR' leaves them.
var ends = [2]struct{ name, report, packets string }{{"A", "a.json", "a.pcapng"}, {"B", "b.json", "b.pcapng"}}

// Attempt is what a directory holds of one attempt: the report of one end or both
// (docs/report.md), and their packets.
type Attempt struct {
	Name    string // of the directory, for people
	Reports [2]*punch.Report
	files   fs.FS
	root    *os.Root
}

var _ io.Closer = (*Attempt)(nil)

// ReadAttempt reads a directory with a.json or b.json, and a.pcapng and b.pcapng if they
// are there; the caller closes it. Links that lead out of the directory are not
// followed. An error that wraps ErrNotAttempt says that there is none.
func ReadAttempt(dir string) (*Attempt, error) {
	root, err := openDir(dir, ErrNotAttempt)
	if err != nil {
		return nil, err
	}
	a := &Attempt{Name: dir, files: root.FS(), root: root}
	if err := a.read(); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return a, nil
}

func (a *Attempt) read() error {
	found := false
	for i, end := range ends {
		text, err := fs.ReadFile(a.files, end.report)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read an attempt: %w", err)
		}
		a.Reports[i] = new(punch.Report)
		if err := json.Unmarshal(text, a.Reports[i]); err != nil {
			return fmt.Errorf("%s: %s: %w", a.Name, end.report, err)
		}
		found = true
	}
	if !found {
		return fmt.Errorf("%s: there is no %s or %s: %w", a.Name, ends[0].report, ends[1].report, ErrNotAttempt)
	}
	return nil
}

// Close lets go of the directory.
func (a *Attempt) Close() error { return a.root.Close() }

// Write writes the page. Of the Config it takes Title and Command.
func (a *Attempt) Write(w io.Writer, cfg *Config) error {
	if cfg == nil {
		cfg = &Config{}
	}
	v := &view{
		Question: cfg.Title, Page: commandLine(cfg.Command), Kicker: "synpunch, one attempt",
		TrialsTitle: "The attempt", AgainTitle: "How it was made", MadeFacts: []fact{{"data", a.Name}},
	}
	if v.Question == "" {
		v.Question = "Did the two ends connect?"
	}
	for i, r := range a.Reports {
		if r == nil {
			continue
		}
		v.Synpunch = r.Host.Version
		v.Kicker = "synpunch, one attempt, " + r.Scheduled.UTC().Format("2 January 2006")
		v.Brief = append(v.Brief, a.brief(i))
		v.Trials = append(v.Trials, a.end(i))
		v.MadeFacts = append(v.MadeFacts, fact{"host " + ends[i].name, hostWords(&r.Host)})
	}
	v.Trials = append([]trial{a.packets()}, v.Trials...)
	return v.write(w)
}

// brief says what became of an end.
func (a *Attempt) brief(i int) string {
	r := a.Reports[i]
	text := fmt.Sprintf("%s: %s, %s to %s.", ends[i].name, r.Outcome, r.Flow.Local, r.Flow.Remote)
	if r.Established != nil {
		text = fmt.Sprintf("%s: %s after %s, %s to %s.", ends[i].name, r.Outcome, exact(*r.Established), r.Flow.Local, r.Flow.Remote)
	}
	if r.Error != "" {
		text += " " + r.Error
	}
	return text
}

// end is what one end reports.
func (a *Attempt) end(i int) trial {
	r := a.Reports[i]
	t := trial{ID: "end-" + strings.ToLower(ends[i].name), Title: "As host " + ends[i].name + " reports it"}
	add := func(name, value string) { t.Facts = append(t.Facts, fact{name, value}) }
	add("outcome", string(r.Outcome))
	add("engine, strategy", string(r.Engine)+", "+string(r.Strategy))
	add("flow", r.Flow.Local.String()+" to "+r.Flow.Remote.String())
	add("instant", r.Scheduled.UTC().Format(time.RFC3339Nano))
	add("send error", known(r.SendErrorNS))
	add("established", known(r.Established)+" after the instant")
	add("handoff", known(r.HandoffNS))
	if r.Simultaneous != nil {
		add("simultaneous open", map[bool]string{true: "yes", false: "no"}[*r.Simultaneous])
	}
	if c := r.Crossing; c != nil {
		add("the SYNs", crossingWords(c))
	}
	add("sent again", fmt.Sprintf("%d SYNs and SYN-ACKs, %d of them after an RST or ICMP error", r.Retransmits, r.Resends))
	add("came in", fmt.Sprintf("%d RSTs, %d ICMP errors, %d bytes before the handoff", r.RSTs, r.ICMPs, r.EarlyBytes))
	for _, n := range r.Notes {
		add("note", n)
	}
	return t
}

func crossingWords(c *capture.Crossing) string {
	return fmt.Sprintf("%s, margin %s ± %s", regimeWords(c.Regime), exact(int64(c.Margin)), exact(int64(c.Error)))
}

func hostWords(h *punch.Host) string {
	return fmt.Sprintf("%s, kernel %s, synpunch %s", h.OS, h.Kernel, h.Version)
}

// packets shows the openings as both ends saw them, on one clock, or as one end did.
func (a *Attempt) packets() trial {
	t := trial{ID: "packets", Title: "The packets"}
	var timelines [2][]*capture.Timeline
	var names []string
	var wrong error
	for i, end := range ends {
		tls, err := a.timelines(i)
		if err != nil {
			wrong = errors.Join(wrong, fmt.Errorf("%s: %w", end.packets, err))
		}
		if len(tls) > 0 {
			timelines[i] = tls
			names = append(names, path.Join(a.Name, end.packets))
		}
	}
	joined, onlyA, onlyB := capture.Join(timelines[0], timelines[1], nil)
	var list []story
	for _, j := range joined {
		list = append(list, j)
	}
	for _, tl := range append(onlyA, onlyB...) {
		list = append(list, alone{tl})
	}
	t.tell(list, wrong)
	if len(names) > 0 {
		t.Command = commandLine(append([]string{"synpunch", "analyze"}, names...))
	}
	return t
}

// timelines are what an end's capture has of its report's flow, or all flows where there is
// no report.
func (a *Attempt) timelines(i int) (tls []*capture.Timeline, err error) {
	cfg := &capture.AnalyzeConfig{}
	if r := a.Reports[i]; r != nil {
		flow := r.Flow
		cfg.Keep = func(x, y netip.AddrPort) bool {
			return x == flow.Local && y == flow.Remote || y == flow.Local && x == flow.Remote
		}
	}
	err = eachPacket(a.files, ends[i].packets, func(_ *capture.Reader, next func() (capture.Packet, error)) error {
		var err error
		tls, _, err = capture.Analyze(next, cfg)
		return err
	})
	return tls, err
}
