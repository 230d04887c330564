package page

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"time"

	"github.com/synpunch/synpunch/lab/sweep"
)

// Config says what a page shows. Nil works, and so does each zero field.
type Config struct {
	Title   string   // the question; "": what the axes of the sweep ask
	Trials  []int64  // numbers (sweep.Row.N) of the trials to show; nil: one of each arm and outcome, up to 8
	Command []string // the command line that makes the page; nil: it is not told
}

var (
	//go:embed style.css
	style string
	//go:embed page.html.tmpl
	source string
	// A test executes every branch of it.
	pageTemplate = template.Must(template.New("page").Parse(source))
)

// styleHash is the style element as the Content-Security-Policy allows it (Content
// Security Policy Level 3, section 2.3.1).
func styleHash() string {
	sum := sha256.Sum256([]byte(style))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// view is what the template fills in.
type view struct {
	Style     template.CSS
	StyleHash string
	Synpunch  string // its version

	Question, Kicker, Over string
	Brief, Damage          []string
	Scenarios              []scenario
	Geometry               *figureView
	Figures                []figureView

	Arms                             []armRow
	Pairs, PairPoints                *pairTable
	PairPointsCaption, PointsCaption string
	Points                           []pointRow
	Axis, Axis2                      string

	Trials                 []trial
	TrialsTitle, TrialsSay string
	AgainTitle             string

	Again, Page string
	SameDraws   bool
	MadeFacts   []fact
	Says        string
}

// figureView is a figure, drawn for a wide page and for a narrow one.
type figureView struct {
	ID, Says     string
	Wide, Narrow template.HTML
}

// pairTable is rows of differences, at points of these axes.
type pairTable struct {
	Axes []string
	Rows []pairRow
}

// Write writes the page.
func (s *Sweep) Write(w io.Writer, cfg *Config) error {
	if cfg == nil {
		cfg = &Config{}
	}
	chosen, err := s.choose(cfg.Trials)
	if err != nil {
		return err
	}
	v := s.view(cfg)
	for i := range chosen {
		v.Trials = append(v.Trials, s.show(&chosen[i]))
	}
	v.TrialsSay = "One trial of each arm and outcome. Time runs down."
	if len(cfg.Trials) > 0 {
		v.TrialsSay = "The trials that were asked for. Time runs down."
	}
	return v.write(w)
}

// write fills in the template.
func (v *view) write(w io.Writer) error {
	v.Style, v.StyleHash = template.CSS(style), styleHash()
	var b bytes.Buffer
	err := pageTemplate.Execute(&b, v)
	if err == nil {
		_, err = w.Write(b.Bytes())
	}
	if err != nil {
		return fmt.Errorf("write a page: %w", err)
	}
	return nil
}

func (s *Sweep) view(cfg *Config) *view {
	m, c := s.Manifest, &s.Summary.Config
	v := &view{
		Synpunch: m.Synpunch, Question: cfg.Title, TrialsTitle: "Trials", AgainTitle: "How to make it again",
		Brief: s.brief(), Over: s.over(), Scenarios: scenarios(c), Geometry: geometry(s.Summary), Arms: s.arms(),
		Axis: string(c.Axes[0].Axis), Again: commandLine(m.Command), Page: commandLine(cfg.Command),
		SameDraws: c.World == sweep.Sim, MadeFacts: s.madeFacts(),
	}
	if v.Question == "" {
		v.Question = question(c)
	}
	v.Kicker = "synpunch sweep, " + map[bool]string{true: "simulated", false: "live"}[c.World == sweep.Sim] + ", " + m.Started.UTC().Format("2 January 2006")
	if len(c.Axes) > 1 {
		v.Axis2 = string(c.Axes[1].Axis)
	}
	s.damage(v)
	v.Figures = s.figures()
	s.tables(v)
	if !v.SameDraws {
		v.Says = "Live trials repeat in their order and in what is ordered, not in what the machine and its clocks do."
	}
	return v
}

// tables fills in the differences and the points.
func (s *Sweep) tables(v *view) {
	all, differ := s.pairs()
	axes := []string{v.Axis}
	if v.Axis2 != "" {
		axes = append(axes, v.Axis2)
	}
	if len(all) > 0 {
		v.Pairs = &pairTable{Rows: all}
	}
	if n := len(differ); n > 0 {
		v.PairPoints = &pairTable{axes, differ[:min(n, mostPoints)]}
		v.PairPointsCaption = "Points with a pair of which only one trial connected." + cut(n)
	}
	v.Points = s.points()
	v.PointsCaption = "Trials, and shares with Wilson’s 95 % intervals; times and margins as medians. Tinted: theory says that the SYNs cross." + cut(len(v.Points))
	v.Points = v.Points[:min(len(v.Points), mostPoints)]
}

// cut says that a table is longer than what the page shows.
func cut(n int) string {
	if n <= mostPoints {
		return ""
	}
	return fmt.Sprintf(" The first %s of %s rows; all trials are in %s.", count(mostPoints), count(n), sweep.TrialsName)
}

// mostDamage lines are told one by one. Chosen by us.
const mostDamage = 10

func (s *Sweep) damage(v *view) {
	for i, d := range s.Damage {
		if i == mostDamage {
			v.Damage = append(v.Damage, fmt.Sprintf("… and %s more lines", count(len(s.Damage)-i)))
			break
		}
		v.Damage = append(v.Damage, sweep.TrialsName+", "+d.String())
	}
}

func (s *Sweep) madeFacts() []fact {
	m := s.Manifest
	kernel := m.Kernel
	if kernel == "" {
		kernel = "not known"
	}
	list := []fact{
		{"started", m.Started.UTC().Format(time.RFC3339)},
		{"trials", count(s.Summary.Done) + " of " + count(s.Summary.Of)},
		{"seed", fmt.Sprint(m.Config.Seed)},
		{"synpunch", m.Synpunch},
		{"Go", m.Go},
		{"machine", fmt.Sprintf("%s/%s, %d CPUs", m.OS, m.Arch, m.CPUs)},
		{"kernel", kernel},
		{"data", s.Name},
	}
	if q := s.Summary.Overhead; q.N > 0 {
		list = append(list, fact{"overhead of a trial", fmt.Sprintf("median %s, 99 in 100 within %s: all but the punch itself", span(q.P50), span(q.P99))})
	}
	return list
}
