package figure

// Figure is one of the figures of this package.
type Figure interface {
	// Heading is the question that the figure answers.
	Heading() string
	// sketch works out where everything goes.
	sketch() *sketch
}

var (
	_ Figure = (*Chart)(nil)
	_ Figure = (*Shares)(nil)
	_ Figure = (*Histogram)(nil)
	_ Figure = (*Calibration)(nil)
	_ Figure = (*Map)(nil)
	_ Figure = (*HeatMap)(nil)
)

// Unit says how the values of an axis are written.
type Unit int

// The units.
const (
	Number   Unit = iota // as they are
	Duration             // values are nanoseconds; written in ns, µs, ms, s or min
	Percent              // values are shares from 0 to 1; written in per cent
)

// Axis is one direction of a figure.
type Axis struct {
	Title    string  // what is shown, without its unit
	Unit     Unit    // of the values
	Log      bool    // logarithmic: values that are not above 0 are left out
	Min, Max float64 // the ends; both 0: as the data needs, for Percent 0 to 1
}

// Range is a part of the x axis that is shaded, from below to above the data. Its ends
// may be infinite.
type Range struct {
	From, To float64
	Label    string
}

// Mark is a line across the figure.
type Mark struct {
	At         float64
	Label      string
	Horizontal bool // at a value of the y axis; otherwise of the x axis
}

// Point is a value of a Series.
type Point struct {
	X, Y      float64 // Y NaN: there is none, and the line has a gap
	Low, High float64 // the interval of Y, such as Wilson's; both 0: there is none
}

// Series is one quantity over x.
type Series struct {
	Name   string
	Points []Point // in any order
	Style  Style
	Look   int // which dashes, marker and hue, from 1; 0: by its place among the series
}

// Style says how the points of a Series are joined.
type Style int

// The styles.
const (
	Line    Style = iota // straight from point to point, the intervals as a band
	Step                 // a step half way between points, the intervals as a band
	Dots                 // not at all, the intervals as whiskers
	Outline              // straight, without markers: theory rather than data
)

// Chart is one or more series over the same axes.
type Chart struct {
	Title  string   // the question that the figure answers
	Notes  []string // below: how many, the seed, the command
	X, Y   Axis
	Series []Series
	Ranges []Range
	Marks  []Mark
	Width  float64 // of the figure, in points; 0: 720
}

// Shares is how a whole divides, for each value of x: the mix of outcomes.
type Shares struct {
	Title  string
	Notes  []string
	X      Axis
	At     []float64 // the values of x, in any order
	Parts  []Part    // from the bottom up
	Whole  string    // what the parts are shares of; "": trials
	Ranges []Range
	Marks  []Mark // vertical ones
	Width  float64
}

// Part is one part of a whole.
type Part struct {
	Name   string
	Shares []float64 // for each value of x, 0 to 1; NaN: unknown
	Look   int       // which lightness and hatching, from 1; 0: by its place
}

// Histogram is how often each value came, one panel for each set over the same x axis. If
// a few values are far from all others, and the axis has no ends of its own, it ends
// before them; the panel then says how many lie beyond it.
type Histogram struct {
	Title  string
	Notes  []string
	X      Axis
	Sets   []Set
	Bins   int // 0: as Freedman and Diaconis say, 10 to 60
	Ranges []Range
	Marks  []Mark
	Width  float64
}

// Set is the values of one panel.
type Set struct {
	Name   string
	Values []float64 // NaN: unknown, left out
}

// Calibration sets what was stated beforehand against how often it came true. X and Y
// of the points are shares from 0 to 1; their Style is Dots, unless it is Outline.
type Calibration struct {
	Title            string
	Notes            []string
	Stated, Observed string // titles of the axes; "": the words stated and observed
	Series           []Series
	Width            float64 // 0: 520
}

// Map is a share over two parameters.
type Map struct {
	Title  string
	Notes  []string
	X, Y   Axis
	At     []float64   // the values of x, ascending
	Rows   []float64   // the values of y, ascending
	Shares [][]float64 // by row, then column; NaN: unknown
	Scale  string      // what the shades mean
	Edges  []Series    // lines on the map, such as the edge that theory gives
	Width  float64
}

// Heading is the Title.
func (c *Chart) Heading() string { return c.Title }

// Heading is the Title.
func (s *Shares) Heading() string { return s.Title }

// Heading is the Title.
func (h *Histogram) Heading() string { return h.Title }

// Heading is the Title.
func (c *Calibration) Heading() string { return c.Title }

// Heading is the Title.
func (m *Map) Heading() string { return m.Title }

// Heading is the Title.
func (h *HeatMap) Heading() string { return h.Title }
