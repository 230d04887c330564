// Package figure draws the figures of experiments, as SVG or PNG: lines with bands
// (Chart), how a whole divides (Shares), distributions (Histogram), what was stated
// against what happened (Calibration), and shares over two parameters (Map) or two
// lists of names (HeatMap), and the geometry of a crossing (Crossing). It stands apart so that a program which does not draw does
// not pull in a module for plots.
//
// Times go in as nanoseconds and come out in the unit that suits the axis. The same
// value gives the same bytes.
//
// Every figure can be read without seeing colours and when printed in grey: lines
// differ in dashes and markers, areas in lightness and hatching, and the scale of a map
// runs from light to dark in one hue. Legends and labels stand outside the data.
package figure
