package doctor

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Text writes the result for people: one line a check, the fix under what is
// missing, the engine that auto takes in the last line. Other ways to grant the
// same are shown for what an engine needs only; Check.Fix has all. It is the same with and
// without colour, but for the colour.
func (r *Result) Text(w io.Writer, color bool) error {
	t := &text{w: bufio.NewWriter(w), color: color, fixes: map[string]string{}}
	m := r.Machine
	t.printf("%s, %s, uid %d", strings.Join(strings.Fields(m.OS+" "+m.Kernel+" "+m.Arch), " "), count(m.CPUs, "processor"), m.UID)
	if m.Container != "" {
		t.printf(", in a container (%s)", m.Container)
	}
	t.printf("\n")
	width := len("connect")
	for _, c := range r.Checks {
		width = max(width, len([]rune(c.Title)))
	}
	group := ""
	for _, c := range r.Checks {
		if c.Group != group {
			group = c.Group
			t.printf("\n%s\n", group)
		}
		t.line(c.Answer, c.Level, c.Title, c.Detail, width)
		t.fix(c)
	}
	if r.Inside != nil {
		var words []string
		for _, c := range r.Inside {
			if c.Level == Needed {
				words = append(words, fmt.Sprintf("%s %s", c.Title, c.Answer))
			}
		}
		t.printf("           in the demo's namespaces: %s\n", strings.Join(words, ", "))
	}
	t.printf("\nengines\n")
	for _, e := range r.Engines {
		t.line(e.Works, Needed, e.Engine, e.Detail, width)
	}
	t.printf("\n%s\n", r.Summary())
	if t.err == nil {
		t.err = t.w.Flush()
	}
	return t.err
}

type text struct {
	w     *bufio.Writer
	color bool
	fixes map[string]string // first fix -> title of the check that showed it
	err   error
}

func (t *text) printf(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, format, args...)
	}
}

func (t *text) line(a Answer, level Level, title, detail string, width int) {
	mark := fmt.Sprintf("  %-7s", a)
	if t.color {
		mark = fmt.Sprintf("  \x1b[%sm%-7s\x1b[0m", colour(a, level), a)
	}
	line := fmt.Sprintf("%s  %-*s  %s", mark, width, title, detail)
	t.printf("%s\n", strings.TrimRight(line, " "))
}

// colour is green for yes, red for a no that matters, yellow for other noes, and
// dim for what nobody knows.
func colour(a Answer, level Level) string {
	switch {
	case a == Yes:
		return "32"
	case a == No && level == Needed:
		return "31"
	case a == No:
		return "33"
	}
	return "2"
}

func (t *text) fix(c Check) {
	if len(c.Fix) == 0 {
		return
	}
	if title, ok := t.fixes[c.Fix[0]]; ok {
		t.printf("           fix: as for %s\n", title)
		return
	}
	t.fixes[c.Fix[0]] = c.Title
	for i, f := range c.Fix {
		if i > 0 && c.Level != Needed {
			break // JSON has all of them
		}
		word := "fix:"
		if i > 0 {
			word = "or: "
		}
		t.printf("           %s %s\n", word, f)
	}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
