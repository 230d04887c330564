package figure

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Format is a file format.
type Format string

// The formats.
const (
	SVG Format = "svg"
	PNG Format = "png" // 144 dots per inch
)

// ErrFormat is wrapped where a file's name does not say a format that can be
// written.
var ErrFormat = errors.New("want a file name that ends in .svg or .png")

// FormatOf tells a file's format by its name.
func FormatOf(name string) (Format, error) {
	switch f := Format(strings.TrimPrefix(strings.ToLower(filepath.Ext(name)), ".")); f {
	case SVG, PNG:
		return f, nil
	}
	return "", fmt.Errorf("%s: %w", name, ErrFormat)
}

// Write draws a figure.
func Write(w io.Writer, fig Figure, f Format) error {
	var b []byte
	var err error
	switch f {
	case SVG:
		b = fig.sketch().svg(standalone)
	case PNG:
		b, err = fig.sketch().png()
	default:
		err = fmt.Errorf("%q: %w", f, ErrFormat)
	}
	if err == nil {
		_, err = w.Write(b)
	}
	if err != nil {
		return fmt.Errorf("figure: %w", err)
	}
	return nil
}

// Save draws a figure into a file, in the format that its name says.
func Save(name string, fig Figure) error {
	f, err := FormatOf(name)
	if err != nil {
		return err
	}
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(Write(file, fig, f), file.Close())
}

// Inline is a figure as an svg element to stand in an HTML page, a pixel for a point. Its colours are CSS
// variables of the page where the page sets them: --fig-ground, --fig-ink, --fig-faint,
// --fig-rule, --fig-shade, --fig-1 to --fig-6 for lines, and --fig-part-1 to
// --fig-part-6 with --fig-hatch for parts.
func Inline(fig Figure) string { return string(fig.sketch().svg(inline)) }

// Write draws the table.
func (h *HeatMap) Write(w io.Writer, f Format) error { return Write(w, h, f) }
