//go:build race

package rawtcp_test

const raceEnabled = true
