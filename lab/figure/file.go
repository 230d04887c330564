package figure

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Format is a file format.
type Format string

// The formats.
const (
	SVG Format = "svg"
	PNG Format = "png"
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

// Resolution of a PNG in dots per inch, chosen by us: type of 7 points is
// legible.
const resolution = 144

// Write draws the figure. The same HeatMap gives the same bytes.
func (h *HeatMap) Write(w io.Writer, f Format) error {
	l := newLayout(h)
	var canvas interface {
		vg.Canvas
		io.WriterTo
	}
	switch f {
	case SVG:
		canvas = vgsvg.NewWith(vgsvg.UseWH(l.width, l.height), vgsvg.EmbedFonts(false))
	case PNG:
		canvas = vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(l.width, l.height), vgimg.UseDPI(resolution))}
	default:
		return fmt.Errorf("figure: %q: %w", f, ErrFormat)
	}
	l.draw(canvas)
	var b bytes.Buffer
	_, err := canvas.WriteTo(&b)
	if err == nil {
		_, err = w.Write(bytes.ReplaceAll(b.Bytes(), []byte(family), []byte(families)))
	}
	if err != nil {
		return fmt.Errorf("figure: %w", err)
	}
	return nil
}

// An SVG names its type and does not carry it, for that would be a megabyte.
// Arial and Helvetica are as wide as Liberation Sans.
const (
	family   = "font-family:Liberation Sans;"
	families = "font-family:'Liberation Sans',Arial,Helvetica,sans-serif;"
)
