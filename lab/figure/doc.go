// Package figure draws the figures of the command, as SVG or PNG. It stands
// apart so that a program which uses the libraries does not pull in a module
// for plots.
//
// The ground is white. The scale runs from light to dark in one hue, so that it can be
// read without seeing colours and when printed in grey, and every cell carries its
// number.
package figure
