package capture

import (
	"io"
	"strings"
	"unicode/utf8"
)

// style is the look of a cell.
type style uint8

const (
	styleNone style = iota
	styleBold
	styleDim
	styleA
	styleB
	styleBad
	styleMet
)

// ANSI colours, ECMA-48 SGR.
var styleCodes = [...]string{
	styleNone: "", styleBold: "1", styleDim: "2", styleA: "36", styleB: "33", styleBad: "31", styleMet: "1;32",
}

type cell struct {
	r rune
	s style
}

// page collects lines.
type page struct{ lines [][]cell }

func (p *page) text(s style, text string) {
	line := make([]cell, 0, len(text))
	for _, r := range text {
		line = append(line, cell{r, s})
	}
	p.lines = append(p.lines, line)
}

// wrap writes text in lines of at most width columns; the second and further
// ones are indented by two more than the first.
func (p *page) wrap(s style, width int, indent, text string) {
	for i, line := range wrapText(text, width-utf8.RuneCountInString(indent), 2) {
		if i > 0 {
			line = "  " + line
		}
		p.text(s, indent+line)
	}
}

// wrapText breaks text at spaces; all lines but the first are shorter by less.
func wrapText(text string, width, less int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		room := width
		if len(lines) > 0 {
			room -= less
		}
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= room:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// asciiOf spells what ASCII lacks.
var asciiOf = map[rune]string{
	'│': "|", '├': "|", '┤': "|", '┼': "+", '─': "-", '╌': "-", '▶': ">", '◀': "<", '×': "X", '⋮': ":",
	'µ': "u", '±': "+-", '→': "->", '·': "-", '…': "...",
}

func (p *page) write(w io.Writer, c LadderConfig) error {
	var b strings.Builder
	for _, line := range p.lines {
		end := len(line)
		for end > 0 && line[end-1].r == ' ' {
			end--
		}
		now := styleNone
		for _, x := range line[:end] {
			if c.Color && x.s != now && x.r != ' ' {
				if now != styleNone {
					b.WriteString("\x1b[0m")
				}
				if x.s != styleNone {
					b.WriteString("\x1b[" + styleCodes[x.s] + "m")
				}
				now = x.s
			}
			if s, ok := asciiOf[x.r]; ok && c.ASCII {
				b.WriteString(s)
			} else if c.ASCII && x.r > 126 {
				b.WriteByte('?')
			} else {
				b.WriteRune(x.r)
			}
		}
		if now != styleNone {
			b.WriteString("\x1b[0m")
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// ASCII spells out what a ladder draws beyond ASCII; other characters become
// question marks.
func ASCII(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch s, ok := asciiOf[r]; {
		case ok:
			b.WriteString(s)
		case r > 126:
			b.WriteByte('?')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
