// Package house holds the rules of this repository: which package may import
// which, how files are formatted and commented, what a library never does. It
// has tests only; they read the source itself, build tags and all.
package house
